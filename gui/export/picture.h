// SPDX-License-Identifier: GPL-3.0-or-later
#pragma once

#include <QString>
#include <QStringList>

#include "gui/models/workspace.h"

namespace meshplan::gui {

/// What is drawn to which file: a .pdf, .png or .svg.
struct ExportRequest {
  QString path;
  /// "mesh", "tradeoff", "traffic", "memory" or "timeline"; "": a report of all of them.
  QString view = {};
};

/// The names of views.
QStringList exportedViews();

/// Draws what the workspace shows. Throws common::Error: kUsage for a suffix or a view that is not
/// known, kNoLayoutFits where there is no layout, kIo.
void exportViews(Workspace& workspace, const ExportRequest& request);

/// Waits until layouts and detail of the workspace's inputs are there. Throws kInvalidInput with
/// what is wrong with them.
void waitUntilReady(Workspace& workspace);

}  // namespace meshplan::gui

// SPDX-License-Identifier: GPL-3.0-or-later
#pragma once

#include "gui/models/workspace.h"
#include "gui/views/plot.h"

namespace meshplan::gui {

/// One page: what was asked, the selected layout with its figures, and the views. Requires a
/// detail.
void drawReport(Workspace& workspace, Canvas& canvas, const QSize& size);

}  // namespace meshplan::gui

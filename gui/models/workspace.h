// SPDX-License-Identifier: GPL-3.0-or-later
#pragma once

#include "gui/models/detailing.h"
#include "gui/models/document.h"
#include "gui/models/pricing.h"
#include "gui/models/selection.h"
#include "gui/models/training_run.h"

namespace meshplan::gui {

/// All that a window, or an export without one, shows: each follows from those before it.
struct Workspace {
  Document document;
  Pricing pricing{document};
  Selection selection{pricing};
  Detailing detailing{selection};
  TrainingRun run;

  /// Document::open(), and the layout that the file chooses.
  void open(const QString& path) {
    if (const auto layout = document.open(path)) selection.choose(*layout);
  }
};

}  // namespace meshplan::gui

// SPDX-License-Identifier: GPL-3.0-or-later
#pragma once

#include "gui/models/layout_detail.h"

namespace meshplan::gui {

/// What the layout is, what its step's time goes into, what is on its critical path, and where it
/// is the best, why.
QString explanationText(const LayoutDetail& detail);

}  // namespace meshplan::gui

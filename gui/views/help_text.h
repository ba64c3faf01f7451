// SPDX-License-Identifier: GPL-3.0-or-later
#pragma once

#include <QWidget>

namespace meshplan::gui {

/// A window with what the views show and how they are used, and every input's meaning.
void showHelp(QWidget& parent);

}  // namespace meshplan::gui

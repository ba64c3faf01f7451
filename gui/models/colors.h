// SPDX-License-Identifier: GPL-3.0-or-later
#pragma once

#include <QColor>
#include <cstddef>

namespace meshplan::gui {

/// Whether the application's window is darker than its text.
bool isDark();

/// The colours that text, lines and grounds of drawn views have under the current palette.
struct Ink {
  QColor ground;
  QColor text;
  QColor faint;
  QColor line;
  /// Of what is selected, and of limits and errors.
  QColor accent;
  QColor alarm;
};
Ink ink();

/// Colours that people who do not see all colours tell apart (Okabe and Ito 2008,
/// https://jfly.uni-koeln.de/color), repeated from the eighth on: a second cue has to go with them.
QColor categoryColor(std::size_t index);
inline constexpr std::size_t kCategoryColors = 8;

/// From dark to light as a number goes from 0 to 1: few steps of cividis (Nunez, Anderton, Renslow
/// 2018, doi 10.1371/journal.pone.0199239), joined by straight lines.
QColor scaleColor(double part);

/// Black or white, by which is read on this ground.
QColor textOn(const QColor& ground);

}  // namespace meshplan::gui

// SPDX-License-Identifier: GPL-3.0-or-later
#pragma once

#include <QString>
#include <QVector>

#include "gui/models/layout_detail.h"

namespace meshplan::gui {

/// Classes of memory: the planner's, and what the allocator, contexts and the communication library
/// take on top.
inline constexpr std::size_t kBarClasses = planner::kMemoryClasses + 1;
QString nameOfBarClass(std::size_t index);

/// The peak of a layout and of those beside it, by class, in GiB.
struct MemoryBars {
  QVector<QString> names;
  std::array<QVector<double>, kBarClasses> classes;
  /// Of the device: the sums.
  QVector<double> totals;
  double capacity = 0;
};
MemoryBars memoryBarsOf(const LayoutDetail& detail);

}  // namespace meshplan::gui

// SPDX-License-Identifier: GPL-3.0-or-later
#pragma once

#include <QVector>
#include <cstdint>
#include <optional>
#include <vector>

#include "gui/models/layout_set.h"

namespace meshplan::gui {

/// Points of one tp that fit, or those that do not fit.
struct TradeoffSeries {
  /// 0: of all that do not fit.
  std::int64_t tp = 0;
  /// In the axes' units; places in the same order.
  QVector<double> x;
  QVector<double> y;
  std::vector<std::size_t> layouts;
};

/// The cloud of a set over two quantities.
struct Tradeoff {
  Quantity xAxis = Quantity::kMemory;
  Quantity yAxis = Quantity::kTimePerToken;
  std::vector<TradeoffSeries> series;
  /// Of the frontier, in the order of x.
  TradeoffSeries frontier;
  /// The device's memory, where an axis is memory.
  std::optional<double> memoryLimit;
  /// Points stand for all others near them.
  bool binned = false;
};

/// Clouds of more points are binned.
inline constexpr std::size_t kMostPoints = 20'000;

/// The frontier of time and memory is drawn over other axes as well, as its layouts are the ones to
/// choose from.
Tradeoff tradeoffOf(const LayoutSet& set, Quantity xAxis, Quantity yAxis,
                    std::size_t most = kMostPoints);

}  // namespace meshplan::gui

// SPDX-License-Identifier: GPL-3.0-or-later
#include "gui/models/tradeoff.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <tuple>
#include <unordered_set>

namespace meshplan::gui {
namespace {

/// Bins of a cloud, along each axis.
constexpr int kBins = 160;

struct Range {
  double low = std::numeric_limits<double>::infinity();
  double high = 0;

  void include(double value) {
    if (!(value > 0)) return;
    low = std::min(low, value);
    high = std::max(high, value);
  }
  /// Bins are even by ratio, as the axes are.
  int binOf(double value) const {
    if (!(value > 0) || high <= low) return 0;
    return static_cast<int>(std::log(value / low) / std::log(high / low) * (kBins - 1));
  }
};

}  // namespace

Tradeoff tradeoffOf(const LayoutSet& set, Quantity xAxis, Quantity yAxis, std::size_t most) {
  Tradeoff cloud;
  cloud.xAxis = xAxis;
  cloud.yAxis = yAxis;
  cloud.binned = set.size() > most;
  if (!set.problem) return cloud;
  Range xs;
  Range ys;
  if (cloud.binned) {
    for (std::size_t i = 0; i < set.size(); ++i) {
      xs.include(set.axisValue(xAxis, i));
      ys.include(set.axisValue(yAxis, i));
    }
  }
  const auto add = [&](TradeoffSeries& series, std::size_t layout) {
    const double x = set.axisValue(xAxis, layout);
    const double y = set.axisValue(yAxis, layout);
    if (!std::isfinite(x) || !std::isfinite(y)) return;
    series.x.append(x);
    series.y.append(y);
    series.layouts.push_back(layout);
  };
  std::map<std::int64_t, TradeoffSeries> byTp;
  std::unordered_set<std::int64_t> taken;
  for (std::size_t i = 0; i < set.size(); ++i) {
    const std::int64_t tp =
        set.fits[i] ? set.layouts[i].mesh.sizes[planner::Axis::kTp] : std::int64_t{0};
    if (cloud.binned) {
      const std::int64_t bin = (tp * kBins + xs.binOf(set.axisValue(xAxis, i))) * kBins +
                               ys.binOf(set.axisValue(yAxis, i));
      if (!taken.insert(bin).second) continue;
    }
    TradeoffSeries& series = byTp[tp];
    series.tp = tp;
    add(series, i);
  }
  for (auto& [tp, series] : byTp) cloud.series.push_back(std::move(series));
  std::vector<std::size_t> frontier = set.frontier;
  std::sort(frontier.begin(), frontier.end(), [&](std::size_t a, std::size_t b) {
    return set.value(xAxis, a) < set.value(xAxis, b);
  });
  for (const std::size_t layout : frontier) add(cloud.frontier, layout);
  if (xAxis == Quantity::kMemory || yAxis == Quantity::kMemory) {
    cloud.memoryLimit = static_cast<double>(set.problem->cluster.device.memory.value) /
                        infoOf(Quantity::kMemory).scale;
  }
  return cloud;
}

}  // namespace meshplan::gui

// SPDX-License-Identifier: GPL-3.0-or-later
#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <limits>
#include <memory>
#include <optional>
#include <vector>

#include "gui/models/newest_work.h"
#include "gui/models/problem.h"
#include "gui/models/quantities.h"
#include "planner/search/best_layouts.h"

namespace meshplan::gui {

/// No layout.
inline constexpr std::size_t kNone = std::numeric_limits<std::size_t>::max();

/// Every layout of a problem, priced; never changed once made, so that threads share it. A layout
/// is its index; columns are indexed by it.
struct LayoutSet {
  std::shared_ptr<const Problem> problem;
  std::vector<planner::Layout> layouts;
  std::array<std::vector<double>, kQuantities> columns;
  /// 1 where it fits the device's memory.
  std::vector<std::uint8_t> fits;
  std::size_t fitting = 0;
  /// The fastest that fits; kNone where none does.
  std::size_t best = kNone;
  /// Those that no other beats in time per token without needing more memory, fastest first.
  std::vector<std::size_t> frontier;
  /// The fastest, of which some checkpoint just so many blocks as fit; and what breaks rules.
  planner::BestLayouts ranked;
  /// There are more layouts than are priced.
  bool cut = false;

  double value(Quantity quantity, std::size_t layout) const {
    return columns[static_cast<std::size_t>(quantity)][layout];
  }
  /// In the unit of the quantity's axis; NaN where it is not known.
  double axisValue(Quantity quantity, std::size_t layout) const {
    return value(quantity, layout) / infoOf(quantity).scale;
  }
  std::size_t size() const { return layouts.size(); }
  /// Of the layout, or of another way to say the same; kNone for one that is not of the set.
  std::size_t indexOf(const planner::Layout& layout) const;
};

/// A part of the trade-off: values of two quantities, in the axes' units.
struct Area {
  Quantity x = Quantity::kMemory;
  Quantity y = Quantity::kTimePerToken;
  double left = 0;
  double right = 0;
  double bottom = 0;
  double top = 0;

  bool contains(const LayoutSet& set, std::size_t layout) const;
};

/// Most layouts that are priced for one set.
inline constexpr std::size_t kMostLayouts = 200'000;

/// Prices every layout of the problem: each with no block checkpointed and with all, the best with
/// as many as fit, and `wanted` where it keeps the rules. Throws Stopped, and common::Error as
/// best_layouts() does.
LayoutSet priceAll(std::shared_ptr<const Problem> problem,
                   const std::optional<planner::Layout>& wanted, const Stop& stop);

}  // namespace meshplan::gui

// SPDX-License-Identifier: GPL-3.0-or-later
#pragma once

#include <QString>
#include <array>

#include "planner/cost/estimate_tables.h"
#include "planner/search/search.h"

namespace meshplan::gui {

/// What layouts are compared by: the columns of tables, and the axes of the trade-off.
enum class Quantity {
  kTimePerToken,
  kStepTime,
  kTokensPerSecond,
  kMemory,
  kMfu,
  kTpTraffic,
  kDpTraffic,
  kPrice,
  kEnergy,
};
inline constexpr std::size_t kQuantities = 9;

struct QuantityInfo {
  Quantity quantity;
  const char* label;
  const char* help;
  /// Of a plain number on an axis, and what it is divided by for that.
  const char* unit;
  double scale;
  bool lowerIsBetter;
};
const QuantityInfo& infoOf(Quantity quantity);
const std::array<QuantityInfo, kQuantities>& allQuantities();

/// With its unit and three digits; "-" for what is not known (NaN).
QString textOf(Quantity quantity, double value);

/// Seconds, bytes, tokens, ...; NaN for what the cluster has no figures for.
using Quantities = std::array<double, kQuantities>;

/// What quick estimates of a job have in common.
struct QuantityScale {
  const planner::ClusterSpec* cluster;
  const planner::Job* job;
  /// Utilisation a token per second and GPU.
  double mfuPerToken;
};
Quantities quantitiesOf(const planner::Layout& layout, const planner::QuickEstimate& estimate,
                        const QuantityScale& scale);

// The same three digits for all other numbers that are shown.
QString textOf(common::Bytes size);
QString textOf(common::Seconds time);
QString percentText(double fraction);
QString countText(std::int64_t count);

/// "tp 8 · shard 4 · replicas 2 · microbatch 1 x 4": short, for titles.
QString titleOf(const planner::Layout& layout);
/// What the title leaves out: "hybrid_shard, full checkpointing of 20 blocks".
QString choicesOf(const planner::Layout& layout);

}  // namespace meshplan::gui

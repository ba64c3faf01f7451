#pragma once

#include <optional>

#include "common/units.h"
#include "planner/cluster/cluster_spec.h"

namespace meshplan::planner {

/// What a million tokens of training cost on all devices together; nothing where the cluster does
/// not say what that needs.
struct TokenCost {
  /// In the currency of ClusterSpec::price.
  std::optional<double> price;
  /// Each device draws DeviceSpec::power all through the step: an upper bound, as devices draw less
  /// while they wait for collectives. Cooling and hosts come on top.
  std::optional<double> kilowatt_hours;

  bool operator==(const TokenCost&) const = default;
};

/// Requires tokens_per_second_per_gpu > 0.
TokenCost token_cost(const ClusterSpec& cluster, double tokens_per_second_per_gpu);

}  // namespace meshplan::planner

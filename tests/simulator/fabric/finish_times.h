#pragma once

#include <span>
#include <vector>

#include "simulator/fabric/fair_shares.h"

namespace meshplan::simulator {

/// So much of a flow, from a moment on.
struct Transfer {
  Flow flow;
  double start = 0;
  double volume = 0;
};

/// When each transfer ends, by events: whenever one starts or ends all rates are shared anew.
/// Requires starts and volumes of at least 0.
std::vector<double> finish_times(std::span<const double> capacities,
                                 std::span<const Transfer> transfers);

}  // namespace meshplan::simulator

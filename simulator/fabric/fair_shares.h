#pragma once

#include <cstdint>
#include <limits>
#include <span>
#include <vector>

namespace meshplan::simulator {

/// A link that a flow takes, and the bytes on it for each byte that the flow advances.
struct LinkUse {
  std::int32_t link = 0;
  double weight = 1;
};

/// What moves at one rate over all of its links: a message, or a collective whose ranks pass chunks
/// on as they come. A link is named once.
struct Flow {
  std::vector<LinkUse> uses;
  /// Of its own, beside the links'.
  double limit = std::numeric_limits<double>::infinity();
};

/// Bytes a second of each flow, shared max-min fairly: no link carries more than its capacity, and
/// no flow could be faster without slowing one that is as slow or slower. By progressive filling
/// (Bertsekas, Gallager 1992, section 6.5.2): O(links x rounds + uses), of which there are as many
/// rounds as flows at most. A flow without links has its limit. Requires capacities and weights
/// above 0.
std::vector<double> fair_rates(std::span<const double> capacities, std::span<const Flow> flows);

}  // namespace meshplan::simulator

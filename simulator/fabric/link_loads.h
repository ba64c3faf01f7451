#pragma once

#include <array>
#include <cstddef>

#include "planner/cost/price.h"

namespace meshplan::simulator {

/// The links of a rank: the port of its device to the node's switch; and its part, one of as many
/// as there are ranks on the node, of the node's adapters, of the uplinks from its leaf to the
/// spine, and of those from its pod to the core. The price of a collective has in it that all
/// groups of its axis talk at once, so these parts are what is left to be shared: between the
/// collectives that one rank has under way.
enum class LinkTier { kPort, kAdapters, kLeaf, kPod };
inline constexpr std::size_t kLinkTiers = 4;

/// What a collective is to the links of each of its ranks.
struct LinkLoads {
  /// Part of each link that it takes where it has them to itself: 1 of the one that limits it.
  std::array<double, kLinkTiers> parts{};
  /// Bytes a second over the one that limits it; 0 = its links are not known, or it moves nothing.
  double rate = 0;
  /// Bytes over that link by that rate, which is the price's transfer.
  common::Seconds transfer;
};

/// Links as collectives reach them; those of rings, trees, exchanges and messages are as in
/// planner::collective_time.
LinkLoads link_loads(const planner::DescribedCollective& collective, planner::CollectiveKind kind,
                     common::Bytes bytes);

}  // namespace meshplan::simulator

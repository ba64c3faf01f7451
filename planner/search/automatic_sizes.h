#pragma once

#include <cstdint>
#include <limits>

#include "planner/search/search.h"

namespace meshplan::planner {

/// Stands for a size that the cluster decides, until with_automatic_sizes() has put it in.
inline constexpr std::int64_t kAutomaticSize = std::numeric_limits<std::int64_t>::min();

/// The sizes with what "auto" means for them, as in PyTorch Lightning's ModelParallelStrategy: tp
/// over the devices of a node, dp_shard over the nodes.
AxisSizes with_automatic_sizes(AxisSizes sizes, const ClusterSpec& cluster);
SearchRequest with_automatic_sizes(SearchRequest request, const ClusterSpec& cluster);

}  // namespace meshplan::planner

#include "planner/search/automatic_sizes.h"

#include <algorithm>

namespace meshplan::planner {

AxisSizes with_automatic_sizes(AxisSizes sizes, const ClusterSpec& cluster) {
  if (sizes[Axis::kTp] == kAutomaticSize) sizes[Axis::kTp] = cluster.devices_per_node;
  if (sizes[Axis::kDpShard] == kAutomaticSize) sizes[Axis::kDpShard] = cluster.nodes;
  return sizes;
}

SearchRequest with_automatic_sizes(SearchRequest request, const ClusterSpec& cluster) {
  std::replace(request.tp.begin(), request.tp.end(), kAutomaticSize, cluster.devices_per_node);
  std::replace(request.dp_shard.begin(), request.dp_shard.end(), kAutomaticSize, cluster.nodes);
  return request;
}

}  // namespace meshplan::planner

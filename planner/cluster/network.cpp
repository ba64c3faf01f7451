#include "planner/cluster/network.h"

#include <algorithm>

namespace meshplan::planner {

common::BytesPerSecond ring_bandwidth(const NodeLinks& links, std::int64_t ranks,
                                      std::int64_t devices) {
  const common::BytesPerSecond reached = links.bandwidth * links.ring_share;
  if (!links.mesh || ranks <= 1 || ranks >= devices) return reached;
  return reached * (static_cast<double>(ranks - 1) / static_cast<double>(devices - 1));
}

common::BytesPerSecond sharp_bandwidth(const NodeLinks& links) {
  return links.bandwidth * (links.mesh ? 0 : links.sharp_share);
}

common::BytesPerSecond node_bandwidth(const NodeNetwork& network) {
  return network.adapter_bandwidth * (static_cast<double>(network.adapters) * network.share);
}

}  // namespace meshplan::planner

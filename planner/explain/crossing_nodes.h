#pragma once

#include <optional>
#include <string>

#include "planner/search/search.h"

namespace meshplan::planner {

/// Tensor parallelism over one node, and over two.
struct CrossingNodes {
  /// Why it does not come up, or cannot be: one node, a layout that already crosses, a rule; empty
  /// where it is priced.
  std::string not_priced;
  /// The layout with the same microbatches, tp over the devices of two nodes, and fewer shards or
  /// replicas. Where the model's heads are too few for that, over half of the devices of each: its
  /// ranks_per_node tells.
  Layout layout;
  Estimate estimate;
  /// Its time per token against the other's, less 1: above 0 it is slower.
  double slower = 0;
  /// The same, were the network between nodes as fast as the links within one.
  double slower_on_node_links = 0;
  /// By how much faster the network would have to be for it to win, in bandwidth and latency alike;
  /// nothing where it loses on the links of a node as well.
  std::optional<double> break_even;
};

/// Prices the candidate with tp across two nodes. Requires a priced layout without violations.
CrossingNodes cross_nodes(const ModelSpec& model, const ClusterSpec& cluster, const Job& job,
                          const Candidate& candidate);

}  // namespace meshplan::planner

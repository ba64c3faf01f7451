#pragma once

#include <string>
#include <vector>

#include "planner/cost/estimate.h"
#include "planner/runtime/peer_estimate.h"

namespace meshplan::planner {

/// A layout of ours, as another runtime would run it.
struct RuntimeRequest {
  const RuntimeProfile* runtime = nullptr;
  ModelSpec model;
  ClusterSpec cluster;
  Job job;
  Layout layout;
  /// Whether the loss is computed in chunks, by the runtimes that can.
  bool chunked_loss = false;
};

/// The price of a layout under another runtime. With violations nothing else is filled in.
struct RuntimeEstimate {
  std::string runtime;
  /// Those of the layout, and what the runtime lacks or was not fitted for ("runtime_...").
  std::vector<Violation> violations;
  PeerRun run;
  PeerEstimate peer;
  /// Decided by reserved memory against capacity: profiles have no share for contexts.
  bool fits = false;
  common::Bytes capacity;
  FirstOrderVolumes first_order;
  common::Flops model_flops;
  double mfu = 0;
  TokenCost cost;
};

/// What the runtime has for each choice of the layout is taken: selective checkpointing is
/// torchtitan's "selective op" in the torch runtimes, and that of attention in Megatron. Data types
/// of gradients and optimizer are the runtime's own, but for all states in bfloat16 (master_dtype).
RuntimeEstimate estimate(const RuntimeRequest& request);

/// The keys of an estimate that a peer's estimate has, with "runtime" and what is "assumed" of its
/// run.
common::Json to_json(const RuntimeEstimate& estimate);

}  // namespace meshplan::planner

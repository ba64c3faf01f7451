#pragma once

#include "planner/runtime/peer_program.h"

namespace meshplan::planner {

/// What a run of a peer costs.
struct PeerEstimate {
  common::Seconds step_time;
  /// Over all ranks.
  double tokens_per_second = 0;
  double tokens_per_second_per_gpu = 0;
  /// Of the fullest rank, and of a rank of the first stage.
  common::Bytes peak_allocated;
  common::Bytes peak_allocated_first_stage;
  /// Of the fullest rank, the allocator's share included.
  common::Bytes peak_reserved;
  bool fits = false;
};

/// Prices the run's program. A pipeline follows 1F1B: the fullest stage's time for each microbatch,
/// and the other stages' once, divided by the virtual stages. Requires a valid run.
PeerEstimate estimate(const PeerRun& run);

/// The highest sum of what is allocated.
common::Bytes peak_of(const Operations& operations);

}  // namespace meshplan::planner

#pragma once

#include "planner/runtime/peer_run.h"

namespace meshplan::planner {

/// How blocks fall on the stages of a pipeline.
struct StageShare {
  std::int64_t first = 0;
  /// Of the stage that holds the output head.
  std::int64_t last = 0;
  /// Of the fullest stage before the last.
  std::int64_t most = 0;
};

/// Equal shares, rounded up; or, where the runtime balances by cost, whole layers in order until a
/// stage has its part of all multiplications, the output head's included.
StageShare share_blocks(const PeerRun& run);

/// Microbatches of the first stage that are alive at once under 1F1B, or its interleaved form
/// (Narayanan et al. 2021, arXiv 2104.04473).
double microbatches_in_flight(const PeerRun& run);

}  // namespace meshplan::planner

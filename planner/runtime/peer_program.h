#pragma once

#include <vector>

#include "planner/program/operation.h"
#include "planner/runtime/peer_run.h"

namespace meshplan::planner {

/// Operations that run `repeats` times for one microbatch and block; a fraction where they run in
/// some microbatches or blocks only.
struct RepeatedOperations {
  Operations operations;
  double repeats = 1;
  /// Its attention kernels are those of the backward pass.
  bool backward = false;
};

/// What one rank of a peer's run does in a step. A collective that nothing waits for is issued
/// ahead of the work that needs it.
struct PeerProgram {
  /// One block, one microbatch.
  std::vector<RepeatedOperations> forward;
  std::vector<RepeatedOperations> backward;
  /// Output head and loss of one microbatch, forward and backward.
  std::vector<RepeatedOperations> head;
  /// Once a step: gradients that are not sharded are reduced, then parameters of ZeRO-1 gathered;
  /// of the fullest stage.
  Operations reduction;
  Operations gather;
  /// Gradient of an embedding that is tied across stages.
  Operations tied_gradient;
  Operations optimizer;
  /// One message between neighbouring stages.
  common::Bytes send;
};

/// Requires a valid run: positive sizes within the limits of peer_run.h.
PeerProgram build_peer_program(const PeerRun& run);

/// Every allocation and free of one rank of the first stage, or of the last, in order: what stands
/// all the time, the saved lists of the microbatches in flight, then the loss, a block's backward
/// pass and the optimizer step. Sizes above 2^60 bytes are cut to that.
Operations stage_memory(const PeerRun& run, bool first_stage);

/// What the allocator holds for a peak of `allocated`: its rounding, and, of the loss and a block's
/// backward pass, some of the lesser on top of the larger, since pieces of what one has freed are
/// in use when the other runs.
double reserved_bytes(const PeerRun& run, common::Bytes allocated);

/// Per tp rank.
struct PeerWidths {
  std::int64_t tokens;
  std::int64_t queries;
  std::int64_t keys;
  std::int64_t feed_forward;
  std::int64_t vocabulary;
  /// Tokens of the residual stream: 1/tp under sequence parallelism.
  std::int64_t residual_tokens;
};
PeerWidths peer_widths(const PeerRun& run);

/// Parameters of a rank: of one block, with tensor parallelism; of one embedding.
double rank_block_parameters(const PeerRun& run);
double rank_embedding_parameters(const PeerRun& run);

bool shards_parameters(const PeerRun& run);

}  // namespace meshplan::planner

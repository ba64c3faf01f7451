#pragma once

#include <optional>
#include <string>
#include <vector>

#include "planner/search/objective.h"

namespace meshplan::planner {

/// What is fixed and what is tried. Empty lists allow every divisor of the world size, but for pp
/// and cp, which are 1 unless named, as the executor does not run them.
struct SearchRequest {
  /// The choices that are not searched: sharding, checkpointing, kept blocks.
  Layout base;
  std::vector<std::int64_t> tp;
  std::vector<std::int64_t> dp_shard;
  std::vector<std::int64_t> dp_replicate;
  std::vector<std::int64_t> pp = {1};
  std::vector<std::int64_t> cp = {1};
  /// Nothing: 1, 2, 4, ... 64 are tried, less those that a smaller one's rejection rules out.
  std::optional<std::int64_t> microbatch_size;
  /// Sequences a step over all ranks; accumulation follows from it. Nothing: accumulation is
  /// base.accumulation.
  std::optional<std::int64_t> global_batch_size;
  /// Nothing: default_sequence_parallel().
  std::optional<bool> sequence_parallel;
  /// Nothing: pieces of at most 64 MiB of float32 logits.
  std::optional<std::int64_t> loss_chunks;
  Objective objective = Objective::kThroughput;
};

struct Candidate {
  Layout layout;
  Estimate estimate;
};

struct Rejection {
  Layout layout;
  /// The violations, or "needs 91.2 GiB of 80.0 GiB".
  std::string reason;
  /// What the device would need, where that alone is the reason; else 0.
  common::Bytes needed = {};
  /// Layouts that this one stands for.
  std::int64_t count = 1;
};

struct SearchResult {
  /// Those that fit, best first; ties in the order of enumeration (pp, cp, tp, dp_replicate,
  /// microbatch ascending).
  std::vector<Candidate> ranked;
  std::vector<Rejection> rejected;
};

/// Prices every layout of pp x dp_replicate x dp_shard x cp x tp over the cluster. Throws
/// kInvalidInput when the request itself is wrong (a size that is not positive, an objective that
/// the cluster has no figures for).
SearchResult search(const ModelSpec& model, const ClusterSpec& cluster, const Job& job,
                    const SearchRequest& request);

/// Pieces of the output head so that one piece's logits take at most 64 MiB in float32, as far as
/// kMaxLossChunks goes. Requires a layout without violations.
std::int64_t default_loss_chunks(const ModelSpec& model, const Job& job, const Layout& layout);

}  // namespace meshplan::planner

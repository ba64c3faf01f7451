#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "planner/search/search.h"

namespace meshplan::planner {

/// What a layout's ranks send, at one size of a microbatch.
struct VolumePoint {
  std::int64_t seq_length = 0;
  std::int64_t microbatch_size = 0;
  /// Exact wire bytes of a rank in a step.
  common::Bytes tp_wire;
  common::Bytes dp_shard_wire;
  FirstOrderVolumes first_order;
};

/// How what tensor parallelism sends compares with what sharded parameters do.
struct Volumes {
  Layout layout;
  /// The layout itself first, then half and twice its sequence, and twice and four times its
  /// microbatch, where these are valid.
  std::vector<VolumePoint> points;
  /// Tokens of a microbatch at which the two formulas give the same: parameters / (2 x layers x
  /// hidden).
  std::int64_t first_order_crossing_tokens = 0;
  /// The same for the exact wire bytes, which grow with the tokens for tp and stay for dp_shard;
  /// nothing where the layout lacks one of the two.
  std::optional<std::int64_t> crossing_tokens;
};

/// Requires a priced layout without violations.
Volumes volumes_of(const ModelSpec& model, const ClusterSpec& cluster, const Job& job,
                   const Candidate& candidate);

}  // namespace meshplan::planner

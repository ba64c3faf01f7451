#pragma once

#include <cstdint>
#include <functional>

namespace meshplan::planner {

/// A microbatch's passes through a unit, in seconds.
struct UnitPass {
  double forward = 0;
  double backward = 0;
};

/// A collective of a block over dp that goes on beside compute, in seconds: its own, and those that
/// it and the kernels about it take from compute.
struct BesideCompute {
  double duration = 0;
  double taken = 0;
};

/// What a step with interleaved stages does at least, in seconds.
struct InterleavedStep {
  std::int64_t stages = 2;
  /// Of a stage.
  std::int64_t chunks = 2;
  std::int64_t microbatches = 2;
  /// Of the model, all alike.
  std::int64_t blocks = 4;
  UnitPass embedding;
  UnitPass block;
  UnitPass head;
  /// So many of the model's first blocks are computed twice, which takes so long for each.
  std::int64_t recomputed_blocks = 0;
  double recompute = 0;
  /// What a stage's recomputation takes at least for a microbatch, by its index, beside that.
  std::function<double(std::int64_t)> recompute_of_stage = {};

  /// Of every pass; otherwise of the step's first one alone.
  bool gathers_each_pass = false;
  /// Last blocks of a chunk that stay gathered from forward to backward.
  std::int64_t kept_gathered = 0;
  std::int64_t prefetch_depth = 0;
  BesideCompute gather = {};
  /// Over dp_shard, in each microbatch, and in the last.
  BesideCompute reduce = {};
  BesideCompute last_reduce = {};
  /// Over dp_replicate, in the last.
  BesideCompute sum_replicas = {};
  /// Of the embedding.
  double gather_embedding = 0;
  double reduce_embedding = 0;
  double sum_embedding = 0;
  /// A message between stages.
  double send = 0;
};

/// Least time of the step before its update, by the instructions that wait for each other: the way
/// of the first microbatch to the last chunk and of the last one back, with what the last stage
/// does in between; and what each stage does between its first input and its last output. A pass
/// that follows another waits for the first of its gathers; a block's backward pass, for the
/// reduction of two blocks before. It takes steps that grow with stages times chunks.
double least_interleaved_time(const InterleavedStep& step);

}  // namespace meshplan::planner

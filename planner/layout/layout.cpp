#include "planner/layout/layout.h"

#include <algorithm>
#include <array>

#include "common/error.h"
#include "planner/model/feed_forward_model.h"

namespace meshplan::planner {
namespace {

/// The value among `all` that prints as `name`.
template <class Value, std::size_t count>
Value parse(const std::array<Value, count>& all, const std::string& name,
            const std::string& where) {
  std::string allowed;
  for (Value value : all) {
    if (name == to_string(value)) return value;
    allowed += (allowed.empty() ? "" : ", ") + std::string(to_string(value));
  }
  throw common::Error(common::ErrorCode::kInvalidInput,
                      "unknown value '" + name + "'; use one of " + allowed, where);
}

}  // namespace

const char* to_string(Sharding sharding) {
  switch (sharding) {
    case Sharding::kFullShard:
      return "full_shard";
    case Sharding::kShardGradOp:
      return "shard_grad_op";
    case Sharding::kShardOptimizer:
      return "shard_optimizer";
    case Sharding::kNoShard:
      return "no_shard";
    case Sharding::kHybridShard:
      return "hybrid_shard";
    case Sharding::kHybridShardZero2:
      return "hybrid_shard_zero2";
  }
  return "full_shard";
}

const char* to_string(GradientAccumulation accumulation) {
  return accumulation == GradientAccumulation::kSharded ? "sharded" : "unsharded";
}

const char* to_string(ActivationCheckpointing checkpointing) {
  switch (checkpointing) {
    case ActivationCheckpointing::kNone:
      return "none";
    case ActivationCheckpointing::kSelective:
      return "selective";
    case ActivationCheckpointing::kFull:
      return "full";
  }
  return "none";
}

const char* to_string(LossNormalization normalization) {
  return normalization == LossNormalization::kGlobalTokens ? "global_tokens" : "per_rank";
}

Sharding parse_sharding(const std::string& name, const std::string& where) {
  return parse(std::array{Sharding::kFullShard, Sharding::kShardGradOp, Sharding::kShardOptimizer,
                          Sharding::kNoShard, Sharding::kHybridShard, Sharding::kHybridShardZero2},
               name, where);
}

GradientAccumulation parse_gradient_accumulation(const std::string& name,
                                                 const std::string& where) {
  return parse(std::array{GradientAccumulation::kSharded, GradientAccumulation::kUnsharded}, name,
               where);
}

ActivationCheckpointing parse_activation_checkpointing(const std::string& name,
                                                       const std::string& where) {
  return parse(std::array{ActivationCheckpointing::kNone, ActivationCheckpointing::kSelective,
                          ActivationCheckpointing::kFull},
               name, where);
}

LossNormalization parse_loss_normalization(const std::string& name, const std::string& where) {
  return parse(std::array{LossNormalization::kGlobalTokens, LossNormalization::kPerRank}, name,
               where);
}

common::DataType matmul_dtype(const Job& job) { return job.matmul_dtype.value_or(job.param_dtype); }

common::DataType moment_dtype(const Job& job) {
  return job.moment_dtype.value_or(job.master_dtype);
}

common::DataType parse_matmul_dtype(const std::string& name, const std::string& where) {
  return parse(std::array{common::DataType::kFloat32, common::DataType::kBfloat16,
                          common::DataType::kFloat16, common::DataType::kFloat8},
               name, where);
}

bool default_sequence_parallel(const ModelSpec& model, const Layout& layout, const Job& job) {
  const std::int64_t tp = layout.mesh.sizes[Axis::kTp];
  const std::int64_t cp = std::max<std::int64_t>(1, layout.mesh.sizes[Axis::kCp]);
  std::int64_t tokens = 0;
  return tp > 1 && !is_feed_forward(model) &&
         !__builtin_mul_overflow(layout.microbatch_size, job.seq_length / cp, &tokens) &&
         tokens % tp == 0;
}

Sharding without_replicas(Sharding sharding) {
  if (sharding == Sharding::kHybridShard) return Sharding::kFullShard;
  if (sharding == Sharding::kHybridShardZero2) return Sharding::kShardGradOp;
  return sharding;
}

Recompute recompute_of(const Layout& layout, std::int64_t block) {
  if (layout.checkpointed_blocks && block >= *layout.checkpointed_blocks) return {};
  switch (layout.activation_checkpointing) {
    case ActivationCheckpointing::kNone:
      return {};
    case ActivationCheckpointing::kSelective:
      return {.qkv = true, .attention = false, .gate_up = true};
    case ActivationCheckpointing::kFull:
      return {.qkv = true, .attention = true, .gate_up = true};
  }
  return {};
}

bool accumulates_whole_gradients(const Layout& layout) {
  return layout.sharding == Sharding::kShardOptimizer ||
         layout.gradient_accumulation == GradientAccumulation::kUnsharded;
}

std::int64_t global_batch_size(const Layout& layout) {
  return layout.microbatch_size * layout.accumulation * data_parallel_size(layout.mesh);
}

std::int64_t microbatch_tokens(const Layout& layout, const Job& job) {
  return layout.microbatch_size * (job.seq_length / layout.mesh.sizes[Axis::kCp]);
}

}  // namespace meshplan::planner

#include "planner/layout/layout.h"

#include <array>

#include "common/error.h"

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
  }
  return "full_shard";
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
                          Sharding::kNoShard},
               name, where);
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

std::int64_t global_batch_size(const Layout& layout) {
  return layout.microbatch_size * layout.accumulation * data_parallel_size(layout.mesh);
}

std::int64_t microbatch_tokens(const Layout& layout, const Job& job) {
  return layout.microbatch_size * job.seq_length;
}

}  // namespace meshplan::planner

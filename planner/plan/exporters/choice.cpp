#include "planner/plan/exporters/choice.h"

#include <fmt/format.h>

#include "planner/plan/exporters/exporter.h"

namespace meshplan::planner {
namespace {

std::int64_t size(const Plan& plan, Axis axis) { return plan.layout.mesh.sizes[axis]; }

/// What the strategy comes to: with nothing to shard over, all keep everything whole.
Sharding strategy(const Plan& plan) {
  if (sharding_ranks(plan.layout.mesh) == 1) return Sharding::kNoShard;
  return without_replicas(plan.layout.sharding);
}

bool gathers_for_each_pass(const Plan& plan) { return strategy(plan) == Sharding::kFullShard; }

bool accumulates_shards(const Plan& plan) {
  const Sharding sharding = strategy(plan);
  return plan.layout.accumulation > 1 &&
         (sharding == Sharding::kFullShard || sharding == Sharding::kShardGradOp);
}

bool checkpoints(const Plan& plan, ActivationCheckpointing kind) {
  return plan.layout.activation_checkpointing == kind && plan.layout.checkpointed_blocks != 0;
}

bool checkpoints_some(const Plan& plan) {
  return plan.layout.activation_checkpointing != ActivationCheckpointing::kNone &&
         plan.layout.checkpointed_blocks.value_or(0) > 0 &&
         plan.layout.checkpointed_blocks != plan.model.num_hidden_layers;
}

bool narrow(const Plan& plan) { return common::size_of(plan.job.param_dtype) == 2; }

using common::DataType;

// clang-format off
const std::vector<ChoiceRule> kRules = {
    {Choice::kPp, "pp", [](const Plan& p) { return size(p, Axis::kPp) > 1; },
     [](const Plan& p) { return fmt::format("pp={}: no pipeline stages; plan with --pp 1", size(p, Axis::kPp)); },
     nullptr},
    {Choice::kVirtualStages, "virtual_stages", [](const Plan& p) { return p.layout.virtual_stages > 1; },
     [](const Plan& p) { return fmt::format("virtual_stages={}: no interleaved stages; plan with --virtual-stages 1", p.layout.virtual_stages); },
     [](Plan& p) { p.layout.virtual_stages = 1; }},
    {Choice::kReplicas, "dp_replicate, alone", [](const Plan& p) { return size(p, Axis::kDpReplicate) > 1 && sharding_ranks(p.layout.mesh) == 1; },
     [](const Plan& p) { return fmt::format("dp_replicate={}: no replicas without shards; plan with --dp-replicate 1 and a larger --dp-shard", size(p, Axis::kDpReplicate)); },
     nullptr},
    {Choice::kReplicasOfShards, "dp_replicate over dp_shard", [](const Plan& p) { return size(p, Axis::kDpReplicate) > 1 && sharding_ranks(p.layout.mesh) > 1; },
     [](const Plan& p) { return fmt::format("dp_replicate={}: no replicas of shards; plan with --dp-replicate 1 and a larger --dp-shard", size(p, Axis::kDpReplicate)); },
     nullptr},
    {Choice::kCp, "cp", [](const Plan& p) { return size(p, Axis::kCp) > 1; },
     [](const Plan& p) { return fmt::format("cp={}: no context parallelism that divides sequences as planned; plan with --cp 1", size(p, Axis::kCp)); },
     nullptr},
    {Choice::kTp, "tp", [](const Plan& p) { return size(p, Axis::kTp) > 1; },
     [](const Plan& p) { return fmt::format("tp={}: no tensor parallelism; plan with --tp 1", size(p, Axis::kTp)); },
     nullptr},
    {Choice::kEp, "expert_parallel", [](const Plan& p) { return p.layout.mesh.expert_parallel > 1; },
     [](const Plan& p) { return fmt::format("expert_parallel={}: no expert parallelism; plan with --expert-parallel 1", p.layout.mesh.expert_parallel); },
     nullptr},
    {Choice::kFullShard, "full_shard", gathers_for_each_pass,
     [](const Plan&) { return std::string("sharding=full_shard: no sharded parameters (ZeRO-3); plan with --sharding shard_optimizer or no_shard"); },
     [](Plan& p) { p.layout.sharding = Sharding::kShardOptimizer; }},
    {Choice::kShardGradOp, "shard_grad_op", [](const Plan& p) { return strategy(p) == Sharding::kShardGradOp; },
     [](const Plan&) { return std::string("sharding=shard_grad_op: no such strategy (ZeRO-2); plan with --sharding full_shard or shard_optimizer"); },
     [](Plan& p) { p.layout.sharding = Sharding::kFullShard; }},
    {Choice::kShardOptimizer, "shard_optimizer", [](const Plan& p) { return strategy(p) == Sharding::kShardOptimizer; },
     [](const Plan&) { return std::string("sharding=shard_optimizer: no such strategy (ZeRO-1); plan with --sharding full_shard or shard_grad_op"); },
     [](Plan& p) { p.layout.sharding = Sharding::kFullShard; }},
    {Choice::kShardedAccumulation, "gradient_accumulation=sharded", [](const Plan& p) { return accumulates_shards(p) && !accumulates_whole_gradients(p.layout); },
     [](const Plan&) { return std::string("gradient_accumulation=sharded: gradients are kept whole and reduced once; plan with --gradient-accumulation unsharded, or --accumulation 1"); },
     [](Plan& p) { p.layout.gradient_accumulation = GradientAccumulation::kUnsharded; }},
    {Choice::kUnshardedAccumulation, "gradient_accumulation=unsharded", [](const Plan& p) { return accumulates_shards(p) && accumulates_whole_gradients(p.layout); },
     [](const Plan&) { return std::string("gradient_accumulation=unsharded: gradients are reduced with each microbatch; plan with --gradient-accumulation sharded, or --accumulation 1"); },
     [](Plan& p) { p.layout.gradient_accumulation = GradientAccumulation::kSharded; }},
    {Choice::kSequenceParallel, "sequence_parallel=on", [](const Plan& p) { return size(p, Axis::kTp) > 1 && p.layout.sequence_parallel; },
     [](const Plan&) { return std::string("sequence_parallel=on: tensor parallelism without it only; plan with --sequence-parallel off"); },
     [](Plan& p) { p.layout.sequence_parallel = p.layout.async_tp = false; }},
    {Choice::kPlainTp, "sequence_parallel=off", [](const Plan& p) { return size(p, Axis::kTp) > 1 && !p.layout.sequence_parallel; },
     [](const Plan&) { return std::string("sequence_parallel=off: tensor parallelism is always with it; plan with --sequence-parallel on"); },
     [](Plan& p) { p.layout.sequence_parallel = true; }},
    {Choice::kAsyncTp, "async_tp", [](const Plan& p) { return p.layout.async_tp && size(p, Axis::kTp) > 1; },
     [](const Plan&) { return std::string("async_tp=on: collectives over tp are whole; plan with --async-tp off"); },
     [](Plan& p) { p.layout.async_tp = false; }},
    {Choice::kSelectiveCheckpointing, "activation_checkpointing=selective", [](const Plan& p) { return checkpoints(p, ActivationCheckpointing::kSelective); },
     [](const Plan&) { return std::string("activation_checkpointing=selective: what it calls selective keeps other tensors than planned; plan with --activation-checkpointing none or full"); },
     [](Plan& p) { p.layout.activation_checkpointing = ActivationCheckpointing::kFull; }},
    {Choice::kFullCheckpointing, "activation_checkpointing=full", [](const Plan& p) { return checkpoints(p, ActivationCheckpointing::kFull); },
     [](const Plan&) { return std::string("activation_checkpointing=full: no such choice; plan with --activation-checkpointing none"); },
     [](Plan& p) { p.layout.activation_checkpointing = ActivationCheckpointing::kNone; }},
    {Choice::kCheckpointedBlocks, "checkpointed_blocks", checkpoints_some,
     [](const Plan& p) { return fmt::format("checkpointed_blocks={}: all blocks checkpoint or none; plan without --checkpointed-blocks", *p.layout.checkpointed_blocks); },
     [](Plan& p) { p.layout.checkpointed_blocks.reset(); }},
    {Choice::kLossChunks, "loss_chunks", [](const Plan& p) { return p.layout.loss_chunks > 1; },
     [](const Plan& p) { return fmt::format("loss_chunks={}: the output head is computed at once; plan with --loss-chunks 1", p.layout.loss_chunks); },
     [](Plan& p) { p.layout.loss_chunks = 1; }},
    {Choice::kBlocksKeptGathered, "blocks_kept_gathered", [](const Plan& p) { return gathers_for_each_pass(p) && p.layout.blocks_kept_gathered > 0; },
     [](const Plan& p) { return fmt::format("blocks_kept_gathered={}: all blocks are resharded after their forward pass; plan with --blocks-kept-gathered 0", p.layout.blocks_kept_gathered); },
     [](Plan& p) { p.layout.blocks_kept_gathered = 0; }},
    {Choice::kPrefetchDepth, "prefetch_depth", [](const Plan& p) { return gathers_for_each_pass(p) && p.layout.prefetch_depth != 1; },
     [](const Plan& p) { return fmt::format("prefetch_depth={}: one unit is gathered ahead; plan with --prefetch-depth 1", p.layout.prefetch_depth); },
     [](Plan& p) { p.layout.prefetch_depth = 1; }},
    {Choice::kOptimizerOffload, "optimizer_offload", [](const Plan& p) { return p.layout.optimizer_offload; },
     [](const Plan&) { return std::string("optimizer_offload=on: the optimizer alone cannot lie on the host; plan with --optimizer-offload off"); },
     [](Plan& p) { p.layout.optimizer_offload = false; }},
    {Choice::kFloat8, "matmul_dtype=float8", [](const Plan& p) { return matmul_dtype(p.job) == DataType::kFloat8; },
     [](const Plan& p) { return fmt::format("matmul_dtype=float8: no such recipe; plan with --matmul-dtype {}", common::to_string(p.job.param_dtype)); },
     nullptr},
    {Choice::kFloat16, "param_dtype=float16", [](const Plan& p) { return p.job.param_dtype == DataType::kFloat16; },
     [](const Plan&) { return std::string("param_dtype=float16: not offered; plan with --param-dtype bfloat16"); },
     nullptr},
    {Choice::kFloat32, "param_dtype=float32", [](const Plan& p) { return p.job.param_dtype == DataType::kFloat32; },
     [](const Plan&) { return std::string("param_dtype=float32: not offered; plan with --param-dtype bfloat16"); },
     nullptr},
    {Choice::kNarrowReduce, "reduce_dtype=param_dtype", [](const Plan& p) { return narrow(p) && p.job.reduce_dtype == p.job.param_dtype; },
     [](const Plan& p) { return fmt::format("reduce_dtype={}: gradients are reduced in float32; plan with --reduce-dtype float32", common::to_string(p.job.reduce_dtype)); },
     [](Plan& p) { p.job.reduce_dtype = DataType::kFloat32; }},
    {Choice::kWideReduce, "reduce_dtype=float32", [](const Plan& p) { return narrow(p) && p.job.reduce_dtype == DataType::kFloat32; },
     [](const Plan& p) { return fmt::format("reduce_dtype=float32: gradients are reduced in param_dtype; plan with --reduce-dtype {}", common::to_string(p.job.param_dtype)); },
     [](Plan& p) { p.job.reduce_dtype = p.job.param_dtype; }},
    {Choice::kNarrowMaster, "master_dtype=param_dtype", [](const Plan& p) { return narrow(p) && p.job.master_dtype == p.job.param_dtype; },
     [](const Plan& p) { return fmt::format("master_dtype={}: masters are float32; plan with --master-dtype float32", common::to_string(p.job.master_dtype)); },
     [](Plan& p) { p.job.master_dtype = DataType::kFloat32; }},
    {Choice::kMomentDtype, "moment_dtype", [](const Plan& p) { return moment_dtype(p.job) != p.job.master_dtype; },
     [](const Plan& p) { return fmt::format("moment_dtype={}: AdamW's moments are as its masters; plan with --moment-dtype {}", common::to_string(moment_dtype(p.job)), common::to_string(p.job.master_dtype)); },
     [](Plan& p) { p.job.moment_dtype.reset(); }},
    {Choice::kDecayAll, "decay_norms_and_biases=on", [](const Plan& p) { return p.job.decay_norms_and_biases; },
     [](const Plan&) { return std::string("decay_norms_and_biases=on: weight decay is for matrices only; plan with --decay-norms-and-biases off"); },
     [](Plan& p) { p.job.decay_norms_and_biases = false; }},
    {Choice::kDecayMatrices, "decay_norms_and_biases=off", [](const Plan& p) { return !p.job.decay_norms_and_biases; },
     [](const Plan&) { return std::string("decay_norms_and_biases=off: weight decay is for all parameters; plan with --decay-norms-and-biases on"); },
     [](Plan& p) { p.job.decay_norms_and_biases = true; }},
};
// clang-format on

}  // namespace

const std::vector<ChoiceRule>& choice_rules() { return kRules; }

}  // namespace meshplan::planner

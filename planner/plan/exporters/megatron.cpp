#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>

#include "planner/layout/stage.h"
#include "planner/plan/exporters/quoting.h"
#include "planner/plan/exporters/targets.h"

namespace meshplan::planner {
namespace {

using enum Choice;

constexpr std::array kChoices = {kPp,
                                 kVirtualStages,
                                 kReplicas,
                                 kReplicasOfShards,
                                 kCp,
                                 kTp,
                                 kEp,
                                 kFullShard,
                                 kShardGradOp,
                                 kShardOptimizer,
                                 kShardedAccumulation,
                                 kSequenceParallel,
                                 kPlainTp,
                                 kAsyncTp,
                                 kFullCheckpointing,
                                 kCheckpointedBlocks,
                                 kOptimizerOffload,
                                 kFloat8,
                                 kFloat32,
                                 kNarrowReduce,
                                 kWideReduce,
                                 kDecayMatrices};

constexpr std::array kPins = {SearchPin{"--loss-chunks", "1"},
                              SearchPin{"--blocks-kept-gathered", "0"},
                              SearchPin{"--decay-norms-and-biases", "off"}};

bool shards(const Plan& plan) { return sharding_ranks(plan.layout.mesh) > 1; }

Sharding strategy(const Plan& plan) { return without_replicas(plan.layout.sharding); }

bool megatron_fsdp(const Plan& plan) {
  return shards(plan) && strategy(plan) != Sharding::kShardOptimizer;
}

std::vector<std::string> refuse(const Plan& plan) {
  std::vector<std::string> refused =
      beyond_llama_blocks(plan.model, {.qkv_bias = true, .qk_norm = true, .experts = true});
  const auto add = [&](bool condition, std::string line) {
    if (condition) refused.push_back(std::move(line));
  };
  const RopeSpec& rope = plan.model.rope;
  add(rope.scaling == RopeScaling::kLinear ||
          (rope.scaling == RopeScaling::kLlama3 &&
           (rope.low_freq_factor != 1 || rope.high_freq_factor != 4 ||
            rope.original_max_position_embeddings != 8192)),
      fmt::format("model={}: rotary angles are stretched only as Llama 3.1's are; export a plan of "
                  "another model",
                  plain(plan.model.name)));
  const AxisSizes& sizes = plan.layout.mesh.sizes;
  const std::int64_t pp = sizes[Axis::kPp];
  add(plan.layout.checkpointed_blocks.value_or(0) > 0 && pp > 1 &&
          plan.layout.checkpointed_blocks != plan.model.num_hidden_layers,
      fmt::format("checkpointed_blocks={} with pp={}: it counts them in each stage; plan without "
                  "--checkpointed-blocks",
                  plan.layout.checkpointed_blocks.value_or(0), pp));
  add(sizes[Axis::kDpReplicate] > 1 && megatron_fsdp(plan),
      fmt::format("dp_replicate={} with {}: replicas of shards are the distributed optimizer's; "
                  "plan with --sharding shard_optimizer, or --dp-replicate 1",
                  sizes[Axis::kDpReplicate], to_string(plan.layout.sharding)));
  add(plan.layout.optimizer_offload && !(shards(plan) && !megatron_fsdp(plan)),
      fmt::format("optimizer_offload=on with {}: it is the distributed optimizer's; plan with "
                  "--sharding shard_optimizer",
                  to_string(plan.layout.sharding)));
  return refused;
}

/// Flags of one group, each with its value, as the lines of a shell array.
class Flags {
 public:
  void flag(const std::string& name) { lines_.push_back("  --" + name); }
  template <class Value>
  void value(const std::string& name, const Value& value) {
    lines_.push_back(fmt::format("  --{} {}", name, value));
  }
  std::string array(const char* name) const {
    return fmt::format("{}=(\n{}\n)\n", name, fmt::join(lines_, "\n"));
  }

 private:
  std::vector<std::string> lines_;
};

/// "[0,1,1]": which blocks have experts.
std::string expert_blocks(const ModelSpec& model) {
  std::vector<int> blocks;
  for (std::int64_t block = 0; block < model.num_hidden_layers; ++block)
    blocks.push_back(is_moe_block(model, block) ? 1 : 0);
  return fmt::format("'[{}]'", fmt::join(blocks, ","));
}

void add_experts(Flags& flags, const Plan& plan) {
  const MoeSpec& moe = plan.model.moe;
  flags.value("num-experts", moe.num_experts);
  flags.value("moe-router-topk", moe.experts_per_token);
  flags.value("moe-ffn-hidden-size", moe.intermediate_size);
  flags.value("moe-layer-freq", expert_blocks(plan.model));
  flags.value("moe-token-dispatcher-type", "alltoall");
  flags.flag("moe-grouped-gemm");
  if (moe.shared_intermediate_size > 0)
    flags.value("moe-shared-expert-intermediate-size", moe.shared_intermediate_size);
}

std::string model_flags(const Plan& plan) {
  const ModelSpec& model = plan.model;
  Flags flags;
  flags.value("num-layers", model.num_hidden_layers);
  flags.value("hidden-size", model.hidden_size);
  flags.value("ffn-hidden-size", model.intermediate_size);
  flags.value("num-attention-heads", model.num_attention_heads);
  flags.flag("group-query-attention");
  flags.value("num-query-groups", model.num_key_value_heads);
  flags.value("kv-channels", model.head_dim);
  flags.value("seq-length", plan.job.seq_length);
  flags.value("max-position-embeddings",
              std::max(model.max_position_embeddings, plan.job.seq_length));
  flags.value("position-embedding-type", "rope");
  flags.value("rotary-base", static_cast<std::int64_t>(model.rope.theta));
  if (model.rope.rotated_part != 1) flags.value("rotary-percent", decimal(model.rope.rotated_part));
  if (model.rope.scaling == RopeScaling::kLlama3) {
    flags.flag("use-rope-scaling");
    flags.value("rope-scaling-factor", decimal(model.rope.factor));
  }
  flags.flag("swiglu");
  flags.value("normalization", "RMSNorm");
  flags.value("norm-epsilon", decimal(model.rms_norm_eps));
  flags.flag("disable-bias-linear");
  if (model.qkv_bias) flags.flag("add-qkv-bias");
  if (model.qk_norm) flags.flag("qk-layernorm");
  if (!model.tie_word_embeddings) flags.flag("untie-embeddings-and-output-weights");
  flags.value("attention-dropout", 0);
  flags.value("hidden-dropout", 0);
  flags.value("init-method-std", decimal(model.initializer_range));
  flags.value("vocab-size", model.vocab_size);
  flags.value("make-vocab-size-divisible-by", 1);
  if (model.moe.num_experts > 0) add_experts(flags, plan);
  return flags.array("MODEL");
}

/// "Ett|ttt|ttL": E is the embedding, t a block, L the loss, | ends a chunk of a stage.
std::string pipeline_layout(const Plan& plan) {
  const std::int64_t stages = plan.layout.mesh.sizes[Axis::kPp];
  const std::int64_t chunks = stages * plan.layout.virtual_stages;
  std::string text = "E";
  for (std::int64_t number = 0; number < chunks; ++number) {
    const auto chunk = static_cast<std::size_t>(number / stages);
    const Chunk blocks = chunks_of(plan.model, plan.layout, number % stages)[chunk];
    text += std::string(static_cast<std::size_t>(blocks.blocks), 't');
    text += number + 1 < chunks ? "|" : "L";
  }
  return "'" + text + "'";
}

void add_sharding(Flags& flags, const Plan& plan) {
  const std::int64_t replicas = plan.layout.mesh.sizes[Axis::kDpReplicate];
  if (!shards(plan)) {
    if (replicas > 1) flags.flag("overlap-grad-reduce");
    return;
  }
  flags.flag("use-distributed-optimizer");
  flags.flag("overlap-grad-reduce");
  flags.flag("overlap-param-gather");
  if (megatron_fsdp(plan)) {
    flags.flag("use-megatron-fsdp");
    flags.value("data-parallel-sharding-strategy",
                strategy(plan) == Sharding::kFullShard ? "optim_grads_params" : "optim_grads");
    flags.flag("no-gradient-accumulation-fusion");
    flags.value("ckpt-format", "fsdp_dtensor");
  } else if (replicas > 1) {
    flags.value("num-distributed-optimizer-instances", replicas);
  }
  if (!plan.layout.optimizer_offload) return;
  flags.flag("optimizer-cpu-offload");
  flags.value("optimizer-offload-fraction", "1.0");
  flags.flag("use-precision-aware-optimizer");
}

std::string parallel_flags(const Plan& plan) {
  const Layout& layout = plan.layout;
  const AxisSizes& sizes = layout.mesh.sizes;
  Flags flags;
  flags.value("tensor-model-parallel-size", sizes[Axis::kTp]);
  if (sizes[Axis::kTp] > 1 && layout.sequence_parallel) flags.flag("sequence-parallel");
  if (sizes[Axis::kTp] > 1 && layout.async_tp) flags.flag("tp-comm-overlap");
  flags.value("pipeline-model-parallel-size", sizes[Axis::kPp]);
  if (sizes[Axis::kPp] > 1) flags.value("pipeline-model-parallel-layout", pipeline_layout(plan));
  flags.value("context-parallel-size", sizes[Axis::kCp]);
  if (sizes[Axis::kCp] > 1) flags.value("cp-comm-type", "allgather");
  if (plan.model.moe.num_experts > 0) {
    flags.value("expert-model-parallel-size", layout.mesh.expert_parallel);
    flags.value("expert-tensor-parallel-size", sizes[Axis::kTp]);
  }
  add_sharding(flags, plan);
  if (checkpoints_fully(plan)) {
    const std::int64_t blocks = layout.checkpointed_blocks.value_or(plan.model.num_hidden_layers);
    const bool all = blocks == plan.model.num_hidden_layers;
    flags.value("recompute-granularity", "full");
    flags.value("recompute-method", all ? "uniform" : "block");
    flags.value("recompute-num-layers", all ? 1 : blocks);
  }
  return flags.array("PARALLEL");
}

std::string step_flags(const Plan& plan) {
  const Job& job = plan.job;
  Flags flags;
  flags.value("micro-batch-size", plan.layout.microbatch_size);
  flags.value("global-batch-size", global_batch_size(plan.layout));
  flags.value("clip-grad", decimal(job.max_grad_norm));
  if (job.loss_normalization == LossNormalization::kGlobalTokens)
    flags.flag("calculate-per-token-loss");
  if (job.param_dtype == common::DataType::kBfloat16) {
    flags.flag("bf16");
    if (job.reduce_dtype == job.param_dtype) flags.flag("grad-reduce-in-bf16");
  }
  if (matmul_dtype(job) == common::DataType::kFloat8) {
    flags.value("fp8-format", "hybrid");
    flags.value("fp8-recipe", "tensorwise");
  }
  return flags.array("STEP");
}

Export write(const Plan& plan) {
  const AxisSizes& sizes = plan.layout.mesh.sizes;
  std::string text =
      "#!/usr/bin/env bash\n"
      "# Runs in Megatron-LM's folder, on each node with its NODE_RANK and the first node's\n"
      "# MASTER_ADDR; data, tokenizer, steps and learning rate are flags of pretrain_gpt.py behind "
      "it.\n"
      "set -euo pipefail\n\n";
  if (!megatron_fsdp(plan) && sizes[Axis::kTp] * sizes[Axis::kCp] > 1)
    text += "export CUDA_DEVICE_MAX_CONNECTIONS=1\n\n";
  text += model_flags(plan) + parallel_flags(plan) + step_flags(plan);
  text += fmt::format(
      "exec torchrun --nproc_per_node {} --nnodes {} --node_rank \"${{NODE_RANK:-0}}\" \\\n"
      "  --master_addr \"${{MASTER_ADDR:-localhost}}\" --master_port \"${{MASTER_PORT:-29500}}\" "
      "\\\n"
      "  pretrain_gpt.py \"${{MODEL[@]}}\" \"${{PARALLEL[@]}}\" \"${{STEP[@]}}\" \"$@\"\n",
      plan.layout.mesh.ranks_per_node, node_count(plan));
  return {text, {}};
}

}  // namespace

const ExportTarget kMegatron = {
    "megatron", "Megatron-LM core_v0.19.0 (bash)", "bash", kChoices, kPins, refuse, write};

}  // namespace meshplan::planner

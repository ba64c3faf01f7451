#include <fmt/format.h>

#include "planner/model/parameter_table.h"
#include "planner/plan/exporters/quoting.h"
#include "planner/plan/exporters/targets.h"

namespace meshplan::planner {
namespace {

using common::DataType;
using common::Json;
using enum Choice;

constexpr std::array kChoices = {kReplicas,       kTp,
                                 kFullShard,      kShardGradOp,
                                 kShardOptimizer, kShardedAccumulation,
                                 kPlainTp,        kFullCheckpointing,
                                 kPrefetchDepth,  kOptimizerOffload,
                                 kFloat16,        kFloat32,
                                 kNarrowReduce,   kWideReduce,
                                 kDecayAll,       kDecayMatrices};

constexpr std::array kPins = {SearchPin{"--loss-chunks", "1"},
                              SearchPin{"--blocks-kept-gathered", "0"},
                              SearchPin{"--sequence-parallel", "off"}};

/// AutoTP's name for the family, or null.
const char* preset(const ModelSpec& model) {
  switch (model.family) {
    case ModelFamily::kLlama:
      return "llama";
    case ModelFamily::kMixtral:
      return "mixtral";
    case ModelFamily::kQwen2:
      return "qwen2";
    case ModelFamily::kBloom:
      return "bloom";
    case ModelFamily::kPhi3:
      return "phi3";
    default:
      return nullptr;
  }
}

/// 0 where there is nothing to shard over.
int stage(const Plan& plan) {
  if (sharding_ranks(plan.layout.mesh) == 1) return 0;
  switch (without_replicas(plan.layout.sharding)) {
    case Sharding::kFullShard:
      return 3;
    case Sharding::kShardGradOp:
      return 2;
    case Sharding::kShardOptimizer:
      return 1;
    default:
      return 0;
  }
}

std::vector<std::string> refuse(const Plan& plan) {
  std::vector<std::string> refused;
  if (plan.layout.mesh.sizes[Axis::kTp] > 1 && preset(plan.model) == nullptr) {
    refused.push_back(fmt::format(
        "tp={}: AutoTP has no preset for the family {}; plan with --tp 1, or for llama, mixtral, "
        "qwen2, bloom or phi3",
        plan.layout.mesh.sizes[Axis::kTp], to_string(plan.model.family)));
  }
  // deepspeed/runtime/engine.py, _do_optimizer_sanity_check
  if (stage(plan) == 0 && plan.job.reduce_dtype != plan.job.param_dtype) {
    refused.push_back(fmt::format(
        "reduce_dtype={} without shards: outside of ZeRO gradients are in param_dtype; plan with "
        "--reduce-dtype {}, or --dp-shard above 1",
        to_string(plan.job.reduce_dtype), to_string(plan.job.param_dtype)));
  }
  if (plan.layout.optimizer_offload && stage(plan) == 0) {
    refused.emplace_back(
        "optimizer_offload=on without shards: it is a part of ZeRO; plan with --dp-shard above 1, "
        "or --optimizer-offload off");
  }
  return refused;
}

const char* short_name(DataType type) {
  if (type == DataType::kFloat32) return "fp32";
  return type == DataType::kBfloat16 ? "bf16" : "fp16";
}

/// Elements of the largest block, of its rank's tp share.
std::int64_t block_elements(const Plan& plan) {
  const std::int64_t embedding =
      plan.model.vocab_size * plan.model.hidden_size * (plan.model.tie_word_embeddings ? 1 : 2);
  return (parameter_count(plan.model) - embedding) / plan.model.num_hidden_layers /
         plan.layout.mesh.sizes[Axis::kTp];
}

Json zero(const Plan& plan) {
  Json zero = {{"stage", stage(plan)},
               {"overlap_comm", true},
               {"contiguous_gradients", true},
               {"reduce_scatter", true}};
  if (stage(plan) == 3) {
    zero["stage3_prefetch_bucket_size"] = plan.layout.prefetch_depth * block_elements(plan);
    zero["stage3_param_persistence_threshold"] = 0;
    // Else what backward needs soon stays gathered, in small models all.
    zero["stage3_max_reuse_distance"] = 0;
  }
  if (plan.layout.optimizer_offload)
    zero["offload_optimizer"] = {{"device", "cpu"}, {"pin_memory", true}};
  return zero;
}

std::vector<std::string> for_the_script(const Plan& plan) {
  std::vector<std::string> lines = {
      fmt::format("start {} ranks, {} a node: data parallelism is what tensor_parallel leaves",
                  world_size(plan.layout.mesh), plan.layout.mesh.ranks_per_node),
      fmt::format("sequences of {} tokens", plan.job.seq_length),
      fmt::format("weight decay for {}", plan.job.decay_norms_and_biases
                                             ? "all parameters"
                                             : "matrices only, no norms and biases")};
  if (checkpoints_fully(plan)) lines.emplace_back("model.gradient_checkpointing_enable()");
  return lines;
}

Export write(const Plan& plan) {
  const Job& job = plan.job;
  Json json = {{"train_batch_size", global_batch_size(plan.layout)},
               {"train_micro_batch_size_per_gpu", plan.layout.microbatch_size},
               {"gradient_accumulation_steps", plan.layout.accumulation},
               {"gradient_clipping", job.max_grad_norm}};
  if (job.param_dtype != DataType::kFloat32)
    json[short_name(job.param_dtype)] = {{"enabled", true}};
  json["communication_data_type"] = short_name(job.reduce_dtype);
  json["data_types"] = {{"grad_accum_dtype", short_name(job.reduce_dtype)}};
  json["zero_optimization"] = zero(plan);
  if (const std::int64_t tp = plan.layout.mesh.sizes[Axis::kTp]; tp > 1)
    json["tensor_parallel"] = {{"autotp_size", tp}, {"preset_model", preset(plan.model)}};
  return {json.dump(2) + "\n", for_the_script(plan)};
}

}  // namespace

const ExportTarget kDeepspeed = {
    "deepspeed", "DeepSpeed v0.19.5 (JSON)", "JSON", kChoices, kPins, refuse, write};

}  // namespace meshplan::planner

#include <fmt/format.h>

#include "planner/plan/exporters/quoting.h"
#include "planner/plan/exporters/targets.h"

namespace meshplan::planner {
namespace {

using enum Choice;

constexpr std::array kChoices = {kReplicas,
                                 kReplicasOfShards,
                                 kCp,
                                 kTp,
                                 kFullShard,
                                 kShardGradOp,
                                 kShardedAccumulation,
                                 kUnshardedAccumulation,
                                 kPlainTp,
                                 kFullCheckpointing,
                                 kFloat32,
                                 kNarrowReduce,
                                 kWideReduce,
                                 kNarrowMaster,
                                 kDecayAll,
                                 kDecayMatrices};

constexpr std::array kPins = {
    SearchPin{"--loss-chunks", "1"}, SearchPin{"--blocks-kept-gathered", "0"},
    SearchPin{"--sequence-parallel", "off"}, SearchPin{"--reduce-dtype", nullptr}};

bool shards(const Plan& plan) { return sharding_ranks(plan.layout.mesh) > 1; }

std::vector<std::string> refuse(const Plan& plan) {
  std::vector<std::string> refused;
  const AxisSizes& sizes = plan.layout.mesh.sizes;
  if (block_class(plan.model) == nullptr) {
    refused.push_back(fmt::format(
        "model={}: the class of a {} block is not known here; plan for llama, mistral, mixtral, "
        "qwen2, qwen3 or qwen3_moe",
        plain(plan.model.name), to_string(plan.model.family)));
  }
  if (sizes[Axis::kDpReplicate] > 1 && sizes[Axis::kDpShard] == 1 &&
      sizes[Axis::kTp] * sizes[Axis::kCp] > 1) {
    refused.push_back(fmt::format(
        "dp_replicate={} with tp={}, cp={} and dp_shard=1: replicas beside these need shards; plan "
        "with --dp-shard above 1",
        sizes[Axis::kDpReplicate], sizes[Axis::kTp], sizes[Axis::kCp]));
  }
  const Job& job = plan.job;
  if (shards(plan) && job.reduce_dtype != job.param_dtype) {
    refused.push_back(fmt::format(
        "reduce_dtype={}: its FSDP reduces gradients in param_dtype; plan with --reduce-dtype {}",
        to_string(job.reduce_dtype), to_string(job.param_dtype)));
  }
  if (!shards(plan) && job.reduce_dtype != job.master_dtype) {
    refused.push_back(fmt::format(
        "reduce_dtype={} without shards: gradients are as the masters; plan with --reduce-dtype {}",
        to_string(job.reduce_dtype), to_string(job.master_dtype)));
  }
  if (shards(plan) && stays_gathered(plan) && plan.layout.accumulation > 1) {
    refused.push_back(fmt::format(
        "sharding={} with accumulation={}: FSDP2 gathers anew for each microbatch; plan "
        "with --sharding full_shard, or --accumulation 1",
        to_string(plan.layout.sharding), plan.layout.accumulation));
  }
  if (!shards(plan) && checkpoints_fully(plan)) {
    refused.push_back(
        "activation_checkpointing=full without shards: it is a part of fsdp_config; plan with "
        "--dp-shard above 1, or --activation-checkpointing none");
  }
  return refused;
}

std::string fsdp(const Plan& plan) {
  return fmt::format(
      "fsdp_config:\n"
      "  fsdp_version: 2\n"
      "  fsdp_reshard_after_forward: {}\n"
      "  fsdp_auto_wrap_policy: TRANSFORMER_BASED_WRAP\n"
      "  fsdp_transformer_layer_cls_to_wrap: {}\n"
      "  fsdp_state_dict_type: SHARDED_STATE_DICT\n"
      "  fsdp_activation_checkpointing: {}\n"
      "  fsdp_offload_params: false\n"
      "  fsdp_cpu_ram_efficient_loading: true\n",
      !stays_gathered(plan), block_class(plan.model), checkpoints_fully(plan));
}

std::string axes(const Plan& plan) {
  const AxisSizes& sizes = plan.layout.mesh.sizes;
  std::string text = fmt::format(
      "parallelism_config:\n"
      "  parallelism_config_dp_replicate_size: {}\n"
      "  parallelism_config_dp_shard_size: {}\n"
      "  parallelism_config_tp_size: {}\n"
      "  parallelism_config_cp_size: {}\n",
      sizes[Axis::kDpReplicate], sizes[Axis::kDpShard], sizes[Axis::kTp], sizes[Axis::kCp]);
  if (sizes[Axis::kCp] > 1) text += "  parallelism_config_cp_comm_strategy: allgather\n";
  return text;
}

std::vector<std::string> for_the_script(const Plan& plan) {
  std::vector<std::string> lines = batch_for_the_script(plan);
  const bool mixed = plan.job.master_dtype != plan.job.param_dtype;
  lines.push_back(
      fmt::format("load the model with dtype {}",
                  common::to_string(mixed ? common::DataType::kFloat32 : plan.job.param_dtype)));
  if (const std::int64_t tp = plan.layout.mesh.sizes[Axis::kTp]; tp > 1) {
    lines.push_back(
        fmt::format("load it with tp_plan=\"auto\", tp_size={}, "
                    "device_mesh=accelerator.torch_device_mesh[\"tp\"]",
                    tp));
  }
  if (shards(plan) && plan.layout.accumulation > 1) {
    lines.push_back(fmt::format("GradientAccumulationPlugin(num_steps={}, sync_each_batch={})",
                                plan.layout.accumulation,
                                accumulates_whole_gradients(plan.layout) ? "False" : "True"));
  }
  if (node_count(plan) > 1)
    lines.emplace_back(
        "accelerate launch --machine_rank N --main_process_ip HOST --main_process_port PORT on "
        "each node");
  return lines;
}

Export write(const Plan& plan) {
  const bool mixed = plan.job.master_dtype != plan.job.param_dtype;
  const AxisSizes& sizes = plan.layout.mesh.sizes;
  std::string text = fmt::format(
      "compute_environment: LOCAL_MACHINE\n"
      "debug: false\n"
      "distributed_type: {}\n"
      "downcast_bf16: 'no'\n"
      "enable_cpu_affinity: false\n"
      "machine_rank: 0\n"
      "main_training_function: main\n"
      "mixed_precision: {}\n"
      "num_machines: {}\n"
      "num_processes: {}\n"
      "rdzv_backend: static\n"
      "same_network: true\n"
      "use_cpu: false\n",
      shards(plan) ? "FSDP" : "MULTI_GPU", mixed ? "bf16" : "'no'", node_count(plan),
      world_size(plan.layout.mesh));
  if (shards(plan)) text += fsdp(plan);
  if (shards(plan) || sizes[Axis::kTp] > 1) text += axes(plan);
  return {text, for_the_script(plan)};
}

}  // namespace

const ExportTarget kAccelerate = {
    "accelerate", "Hugging Face accelerate v1.14.0 (YAML)", "YAML", kChoices, kPins, refuse, write};

}  // namespace meshplan::planner

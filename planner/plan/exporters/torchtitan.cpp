#include "planner/plan/exporters/torchtitan.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "planner/plan/exporters/quoting.h"

namespace meshplan::planner {
namespace {

using enum Choice;

constexpr std::array kChoices = {kPp,
                                 kVirtualStages,
                                 kReplicas,
                                 kReplicasOfShards,
                                 kCp,
                                 kTp,
                                 kFullShard,
                                 kShardGradOp,
                                 kShardedAccumulation,
                                 kUnshardedAccumulation,
                                 kSequenceParallel,
                                 kAsyncTp,
                                 kFullCheckpointing,
                                 kFloat8,
                                 kFloat32,
                                 kWideReduce,
                                 kNarrowMaster,
                                 kDecayAll};

constexpr std::array kPins = {SearchPin{"--loss-chunks", "1"},
                              SearchPin{"--blocks-kept-gathered", "0"}};

std::string parallelism(const Plan& plan) {
  const Layout& layout = plan.layout;
  const AxisSizes& sizes = layout.mesh.sizes;
  std::string text = fmt::format(
      "[parallelism]\n"
      "data_parallel_replicate_degree = {}\n"
      "data_parallel_shard_degree = {}\n"
      "fsdp_reshard_after_forward = \"{}\"\n"
      "tensor_parallel_degree = {}\n"
      "enable_async_tensor_parallel = {}\n"
      "context_parallel_degree = {}\n"
      "pipeline_parallel_degree = {}\n",
      sizes[Axis::kDpReplicate], sizes[Axis::kDpShard], torchtitan_reshard(plan), sizes[Axis::kTp],
      layout.async_tp, sizes[Axis::kCp], sizes[Axis::kPp]);
  if (sizes[Axis::kCp] > 1) text += "context_parallel_rotate_method = \"allgather\"\n";
  if (sizes[Axis::kPp] == 1) return text;
  text += fmt::format(
      "pipeline_parallel_schedule = \"{}\"\n"
      "pipeline_parallel_microbatch_size = {}\n"
      "module_fqns_per_model_part = {}\n",
      layout.virtual_stages > 1 ? "Interleaved1F1B" : "1F1B", layout.microbatch_size,
      torchtitan_model_parts(plan, "output"));
  return text;
}

std::vector<std::string> refuse(const Plan& plan) {
  std::vector<std::string> refused = torchtitan_refusals(plan);
  const AxisSizes& sizes = plan.layout.mesh.sizes;
  const Job& job = plan.job;
  // torchtitan/distributed/utils.py, maybe_enable_amp
  if (job.master_dtype != job.param_dtype && sharding_ranks(plan.layout.mesh) == 1 &&
      sizes[Axis::kTp] * sizes[Axis::kPp] > 1) {
    refused.push_back(fmt::format(
        "param_dtype={} with tp={}, pp={} and nothing sharded: mixed precision is FSDP's; plan "
        "with --dp-shard above 1, or --param-dtype float32",
        to_string(job.param_dtype), sizes[Axis::kTp], sizes[Axis::kPp]));
  }
  return refused;
}

Export write(const Plan& plan) {
  const Job& job = plan.job;
  const Layout& layout = plan.layout;
  const bool pipelined = layout.mesh.sizes[Axis::kPp] > 1;
  const bool float8 = matmul_dtype(job) == common::DataType::kFloat8;
  std::string text = fmt::format(
      "\n[model]\nname = \"llama3\"\nflavor = \"{}\"\n{}\n"
      "[training]\n"
      "local_batch_size = {}\n"
      "global_batch_size = {}\n"
      "seq_len = {}\n"
      "max_norm = {}\n"
      "dtype = \"{}\"\n"
      "mixed_precision_param = \"{}\"\n"
      "mixed_precision_reduce = \"float32\"\n\n",
      torchtitan_flavor(plan.model), float8 ? "converters = [\"quantize.linear.float8\"]\n" : "",
      layout.microbatch_size * (pipelined ? layout.accumulation : 1), global_batch_size(layout),
      job.seq_length, job.max_grad_norm > 0 ? decimal(job.max_grad_norm) : "inf",
      common::to_string(job.master_dtype), common::to_string(job.param_dtype));
  text += parallelism(plan);
  text += fmt::format("\n[activation_checkpoint]\nmode = \"{}\"\n",
                      checkpoints_fully(plan) ? "full" : "none");
  if (layout.async_tp) text += "\n[compile]\nenable = true\ncomponents = [\"model\"]\n";
  if (float8) {
    text +=
        "\n[quantize.linear.float8]\nrecipe_name = \"tensorwise\"\n"
        "enable_fsdp_float8_all_gather = false\nfilter_fqns = [\"output\"]\n";
  }
  return {text, {}};
}

}  // namespace

const ExportTarget kTorchtitan = {
    "torchtitan", "torchtitan v0.2.2 (TOML)", "TOML", kChoices, kPins, refuse, write};

}  // namespace meshplan::planner

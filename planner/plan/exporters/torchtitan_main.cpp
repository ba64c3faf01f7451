#include <fmt/format.h>

#include <algorithm>
#include <cctype>

#include "planner/plan/exporters/quoting.h"
#include "planner/plan/exporters/torchtitan.h"

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
                                 kPlainTp,
                                 kAsyncTp,
                                 kFullCheckpointing,
                                 kLossChunks,
                                 kFloat32,
                                 kWideReduce,
                                 kNarrowMaster,
                                 kDecayAll};

const char* python(bool value) { return value ? "True" : "False"; }

/// The shipped function of a flavor: "llama3_8b".
std::string shipped(const Plan& plan) {
  std::string flavor = torchtitan_flavor(plan.model);
  std::transform(flavor.begin(), flavor.end(), flavor.begin(),
                 [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  return "llama3_" + flavor;
}

std::string pipeline(const Plan& plan) {
  std::string parts = torchtitan_model_parts(plan);
  return fmt::format(
      "    config.parallelism.pipeline_parallel_schedule = \"{}\"\n"
      "    config.parallelism.num_pp_microbatches = {}\n"
      "    config.parallelism.module_fqns_per_model_part = {}\n"
      "    config.training.disable_cuda_graphs = True\n",
      plan.layout.virtual_stages > 1 ? "Interleaved1F1B" : "1F1B", plan.layout.accumulation, parts);
}

Export write(const Plan& plan) {
  const Layout& layout = plan.layout;
  const Job& job = plan.job;
  const AxisSizes& sizes = layout.mesh.sizes;
  const std::string function = shipped(plan);
  std::string text =
      fmt::format("from torchtitan.models.llama3.config_registry import {}\n", function);
  if (checkpoints_fully(plan))
    text += "from torchtitan.distributed.activation_checkpoint import FullAC\n";
  text += "from torchtitan.components.loss import ChunkedLossWrapper, CrossEntropyLoss\n";
  text += fmt::format(
      "\n\ndef planned():\n"
      "    config = {}()\n"
      "    config.parallelism.data_parallel_replicate_degree = {}\n"
      "    config.parallelism.data_parallel_shard_degree = {}\n"
      "    config.parallelism.fsdp_reshard_after_forward = \"{}\"\n"
      "    config.parallelism.tensor_parallel_degree = {}\n"
      "    config.parallelism.enable_sequence_parallel = {}\n"
      "    config.parallelism.context_parallel_degree = {}\n"
      "    config.parallelism.expert_parallel_degree = 1\n"
      "    config.parallelism.pipeline_parallel_degree = {}\n",
      function, sizes[Axis::kDpReplicate], sizes[Axis::kDpShard], torchtitan_reshard(plan),
      sizes[Axis::kTp], python(layout.sequence_parallel), sizes[Axis::kCp], sizes[Axis::kPp]);
  if (sizes[Axis::kPp] > 1) text += pipeline(plan);
  text += fmt::format(
      "    config.training.num_tokens_per_microbatch_per_dp_rank = {} * {}\n"
      "    config.training.num_tokens_per_train_step = {} * {}\n"
      "    config.training.max_context_length = {}\n"
      "    config.training.max_norm = {}\n"
      "    config.training.dtype = \"{}\"\n"
      "    config.training.mixed_precision_param = \"{}\"\n"
      "    config.training.mixed_precision_reduce = \"float32\"\n",
      layout.microbatch_size, job.seq_length, global_batch_size(layout), job.seq_length,
      job.seq_length, job.max_grad_norm > 0 ? decimal(job.max_grad_norm) : "float(\"inf\")",
      common::to_string(job.master_dtype), common::to_string(job.param_dtype));
  text += fmt::format("    config.activation_checkpoint = {}\n",
                      checkpoints_fully(plan) ? "FullAC.Config()" : "None");
  const std::string loss =
      fmt::format("CrossEntropyLoss.Config(global_vocab_size={})", plan.model.vocab_size);
  text +=
      layout.loss_chunks > 1
          ? fmt::format("    config.loss = ChunkedLossWrapper.Config(num_chunks={}, loss_fn={})\n",
                        layout.loss_chunks, loss)
          : fmt::format("    config.loss = {}\n", loss);
  if (layout.async_tp) {
    text +=
        "    config.compile.enable = True\n"
        "    config.compile.components = [\"model\"]\n"
        "    config.compile.enable_async_tensor_parallel = True\n";
  }
  return {text + "    return config\n", {}};
}

}  // namespace

const ExportTarget kTorchtitanMain = {"torchtitan-main",
                                      "torchtitan main b5bcd76 (Python config)",
                                      "Python",
                                      kChoices,
                                      torchtitan_refusals,
                                      write};

}  // namespace meshplan::planner

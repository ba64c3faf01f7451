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

constexpr std::array kPins = {SearchPin{"--loss-chunks", "8"},
                              SearchPin{"--blocks-kept-gathered", "0"}};

const char* python(bool value) { return value ? "True" : "False"; }

/// The shipped function of a flavor: "llama3_8b".
std::string shipped(const Plan& plan) {
  std::string flavor = torchtitan_flavor(plan.model);
  std::transform(flavor.begin(), flavor.end(), flavor.begin(),
                 [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  return "llama3_" + flavor;
}

/// How the Python configurations of different versions give the batch.
enum class BatchIn { kSequences, kTokens };

std::string pipeline(const Plan& plan, BatchIn unit) {
  const Layout& layout = plan.layout;
  return fmt::format(
      "    config.parallelism.pipeline_parallel_schedule = \"{}\"\n"
      "    config.parallelism.{}\n"
      "    config.parallelism.module_fqns_per_model_part = {}\n"
      "    config.training.disable_cuda_graphs = True\n",
      layout.virtual_stages > 1 ? "Interleaved1F1B" : "1F1B",
      unit == BatchIn::kTokens
          ? fmt::format("num_pp_microbatches = {}", layout.accumulation)
          : fmt::format("pipeline_parallel_microbatch_size = {}", layout.microbatch_size),
      torchtitan_model_parts(plan, "lm_head"));
}

std::string batch(const Plan& plan, BatchIn unit) {
  const Layout& layout = plan.layout;
  const std::int64_t seq_length = plan.job.seq_length;
  if (unit == BatchIn::kTokens) {
    return fmt::format(
        "    config.training.num_tokens_per_microbatch_per_dp_rank = {} * {}\n"
        "    config.training.num_tokens_per_train_step = {} * {}\n"
        "    config.training.max_context_length = {}\n",
        layout.microbatch_size, seq_length, global_batch_size(layout), seq_length, seq_length);
  }
  const bool pipelined = layout.mesh.sizes[Axis::kPp] > 1;
  return fmt::format(
      "    config.training.local_batch_size = {}\n"
      "    config.training.global_batch_size = {}\n"
      "    config.training.seq_len = {}\n",
      layout.microbatch_size * (pipelined ? layout.accumulation : 1), global_batch_size(layout),
      seq_length);
}

std::string parallelism(const Plan& plan, BatchIn unit) {
  const AxisSizes& sizes = plan.layout.mesh.sizes;
  std::string text = fmt::format(
      "    config.parallelism.data_parallel_replicate_degree = {}\n"
      "    config.parallelism.data_parallel_shard_degree = {}\n"
      "    config.parallelism.fsdp_reshard_after_forward = \"{}\"\n"
      "    config.parallelism.tensor_parallel_degree = {}\n"
      "    config.parallelism.enable_sequence_parallel = {}\n"
      "    config.parallelism.context_parallel_degree = {}\n"
      "    config.parallelism.expert_parallel_degree = 1\n"
      "    config.parallelism.pipeline_parallel_degree = {}\n",
      sizes[Axis::kDpReplicate], sizes[Axis::kDpShard], torchtitan_reshard(plan), sizes[Axis::kTp],
      python(plan.layout.sequence_parallel), sizes[Axis::kCp], sizes[Axis::kPp]);
  if (sizes[Axis::kPp] > 1) text += pipeline(plan, unit);
  return text;
}

/// The shipped configurations compile and convert to float8 for some sizes: what the plan says goes
/// over it.
std::string kernels(const Plan& plan) {
  std::string text = fmt::format("    config.model_spec = model_registry(\"{}\")\n",
                                 torchtitan_flavor(plan.model));
  if (plan.layout.async_tp) {
    text +=
        "    config.compile.enable = True\n"
        "    config.compile.components = [\"model\"]\n";
  }
  return text + fmt::format("    config.compile.enable_async_tensor_parallel = {}\n",
                            python(plan.layout.async_tp));
}

std::string loss(const Plan& plan) {
  const std::string whole =
      fmt::format("CrossEntropyLoss.Config(global_vocab_size={})", plan.model.vocab_size);
  if (plan.layout.loss_chunks == 1) return whole;
  return fmt::format("ChunkedLossWrapper.Config(num_chunks={}, loss_fn={})",
                     plan.layout.loss_chunks, whole);
}

Export write(const Plan& plan, BatchIn unit) {
  const Job& job = plan.job;
  const std::string function = shipped(plan);
  std::string text =
      "from torchtitan.components.loss import ChunkedLossWrapper, CrossEntropyLoss\n";
  if (checkpoints_fully(plan))
    text += "from torchtitan.distributed.activation_checkpoint import FullAC\n";
  text += fmt::format(
      "from torchtitan.models.llama3 import model_registry\n"
      "from torchtitan.models.llama3.config_registry import {}\n"
      "\n\ndef planned():\n"
      "    config = {}()\n",
      function, function);
  text += kernels(plan) + parallelism(plan, unit) + batch(plan, unit);
  text += fmt::format(
      "    config.training.max_norm = {}\n"
      "    config.training.dtype = \"{}\"\n"
      "    config.training.mixed_precision_param = \"{}\"\n"
      "    config.training.mixed_precision_reduce = \"float32\"\n"
      "    config.activation_checkpoint = {}\n"
      "    config.loss = {}\n"
      "    return config\n",
      job.max_grad_norm > 0 ? decimal(job.max_grad_norm) : "float(\"inf\")",
      common::to_string(job.master_dtype), common::to_string(job.param_dtype),
      checkpoints_fully(plan) ? "FullAC.Config()" : "None", loss(plan));
  return {text, {}};
}

std::vector<std::string> refuse(const Plan& plan) {
  std::vector<std::string> refused = torchtitan_refusals(plan);
  const AxisSizes& sizes = plan.layout.mesh.sizes;
  // Chunks are of the positions that a rank holds.
  const std::int64_t positions =
      plan.job.seq_length / sizes[Axis::kCp] /
      (plan.layout.sequence_parallel && sizes[Axis::kTp] > 1 ? sizes[Axis::kTp] : 1);
  if (positions % plan.layout.loss_chunks != 0) {
    refused.push_back(
        fmt::format("loss_chunks={}: must divide the {} positions of a rank's sequences; plan with "
                    "--loss-chunks 8",
                    plan.layout.loss_chunks, positions));
  }
  return refused;
}

}  // namespace

const ExportTarget kTorchtitan03 = {
    "torchtitan-0.3",
    "torchtitan v0.3.0 (Python config)",
    "Python",
    kChoices,
    kPins,
    refuse,
    [](const Plan& plan) { return write(plan, BatchIn::kSequences); }};

const ExportTarget kTorchtitanMain = {
    "torchtitan-main",
    "torchtitan main b5bcd76 (Python config)",
    "Python",
    kChoices,
    kPins,
    refuse,
    [](const Plan& plan) { return write(plan, BatchIn::kTokens); }};

}  // namespace meshplan::planner

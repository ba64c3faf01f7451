#include "cli/options.h"

#include <fmt/format.h>

#include <charconv>
#include <cmath>

#include "common/complaints.h"
#include "planner/layout/rules.h"
#include "planner/model/feed_forward_model.h"
#include "planner/search/search.h"

namespace meshplan::cli {
namespace {

bool parse_switch(const std::string& text, const std::string& where) {
  if (text == "on") return true;
  if (text == "off") return false;
  throw common::Error(common::ErrorCode::kInvalidInput,
                      "unknown value '" + text + "'; use on or off", where);
}

}  // namespace

std::uint64_t parse_seed(const std::string& text, const std::string& flag) {
  std::uint64_t seed = 0;
  const char* const end = text.data() + text.size();
  const auto [stopped, failure] = std::from_chars(text.data(), end, seed);
  if (failure == std::errc{} && stopped == end) return seed;
  throw common::Error(common::ErrorCode::kInvalidInput,
                      fmt::format("'{:.40}' must be a whole number from 0 to 2^64 - 1", text),
                      flag);
}

CLI::Validator finite_non_negative() {
  return {[](std::string& text) -> std::string {
            double number = 0;
            const bool read = CLI::detail::lexical_cast(text, number);
            return read && std::isfinite(number) && number >= 0
                       ? ""
                       : fmt::format("'{}' must be a finite number of at least 0", text);
          },
          ""};
}

CLI::Validator within_64_bits(const std::string& flag) {
  return {[flag](std::string& text) -> std::string {
            std::int64_t number = 0;
            const char* const begin = text.data() + (text.starts_with('+') ? 1 : 0);
            const auto [end, error] = std::from_chars(begin, text.data() + text.size(), number);
            if (error == std::errc::result_out_of_range && end == text.data() + text.size()) {
              throw common::Error(
                  common::ErrorCode::kInvalidInput,
                  fmt::format("{} is beyond 64 bits; use from -2^63 to 2^63 - 1", text), flag);
            }
            return "";
          },
          ""};
}

CLI::Option* add_model_flag(CLI::App& app, std::string& model, const std::string& names) {
  return app
      .add_option(names, model,
                  "Catalog name, folder with a Hugging Face config.json, or a config.json")
      ->type_name("M")
      ->group("Model and cluster");
}

CLI::Option* add_cluster_flags(CLI::App& app, ClusterFlags& flags) {
  const char* const group = "Model and cluster";
  CLI::Option* cluster = app.add_option("--cluster", flags.cluster, "Catalog name or cluster file")
                             ->type_name("C")
                             ->group(group);
  app.add_option("--nodes", flags.changes.nodes, "Nodes (default: the cluster's)")
      ->type_name("N")
      ->group(group);
  app.add_option("--gpus-per-node", flags.changes.devices_per_node,
                 "Ranks of a node (default: the cluster's)")
      ->type_name("G")
      ->group(group);
  app.add_option("--network", flags.changes.network,
                 "Network between nodes, by its name in the catalog (default: the cluster's)")
      ->type_name("NAME")
      ->group(group);
  app.add_option("--gpu-price", flags.changes.price,
                 "Price of a GPU's hour, in any currency (default: the cluster's)")
      ->type_name("X")
      ->group(group);
  return cluster;
}

planner::ClusterSpec load_cluster(const ClusterFlags& flags) {
  return planner::load_cluster(flags.cluster, flags.changes);
}

Inputs load_inputs(const std::string& model, const ClusterFlags& cluster) {
  common::Complaints complaints;
  Inputs inputs;
  inputs.model = complaints.of([&] { return planner::load_model_with_source(model); });
  inputs.cluster = complaints.of([&] { return load_cluster(cluster); });
  complaints.throw_if_any("");
  return inputs;
}

CLI::Option* add_job_flags(CLI::App& app, JobFlags& flags) {
  const char* const group = "Job";
  CLI::Option* seq_length =
      app.add_option("--seq-length", flags.seq_length,
                     "Tokens of a sequence (rows, and 1 by default, for the feed-forward demo)")
          ->type_name("S")
          ->group(group);
  add_choice(
      app, "--param-dtype", flags.param_dtype, common::parse_data_type,
      "Of parameters and activations: bfloat16, float32, or float16 with a scaled loss (default: "
      "bfloat16 on GPUs, "
      "float32 on CPUs)")
      ->group(group);
  add_choice(app, "--matmul-dtype", flags.job.matmul_dtype, planner::parse_matmul_dtype,
             "Of the operands of the blocks' matrix multiplies: that of --param-dtype, or float8 "
             "(default: that of --param-dtype)")
      ->group(group);
  add_choice(app, "--reduce-dtype", flags.job.reduce_dtype, common::parse_data_type,
             "Of gradients when they are reduced (default: float32)")
      ->group(group);
  add_choice(app, "--master-dtype", flags.job.master_dtype, common::parse_data_type,
             "Of the parameters that the optimizer updates: float32 or that of --param-dtype "
             "(default: float32)")
      ->group(group);
  add_choice(app, "--moment-dtype", flags.job.moment_dtype, common::parse_data_type,
             "Of the optimizer's moments: float32 or bfloat16 (default: that of --master-dtype)")
      ->group(group);
  add_choice(app, "--loss-normalization", flags.job.loss_normalization,
             planner::parse_loss_normalization,
             "global_tokens: mean over all tokens of the global batch; per_rank: mean of the "
             "ranks' means (default: "
             "global_tokens)")
      ->group(group);
  app.add_option("--max-grad-norm", flags.job.max_grad_norm, "Clip gradients to this norm; 0 = off")
      ->capture_default_str()
      ->check(finite_non_negative())
      ->type_name("X")
      ->group(group);
  add_choice(app, "--decay-norms-and-biases", flags.job.decay_norms_and_biases, parse_switch,
             "on: weight decay is for all parameters, as in PyTorch; off: for matrices only "
             "(default: on)")
      ->group(group);
  return seq_length;
}

planner::Job make_job(const JobFlags& flags, const planner::ModelSpec& model,
                      const planner::ClusterSpec& cluster,
                      std::optional<std::int64_t> default_seq_length) {
  planner::Job job = flags.job;
  if (planner::is_feed_forward(model)) default_seq_length = 1;
  if (!flags.seq_length && !default_seq_length)
    throw common::Error(common::ErrorCode::kUsage, "--seq-length is required; see --help");
  job.seq_length = flags.seq_length ? *flags.seq_length : *default_seq_length;
  job.param_dtype = flags.param_dtype.value_or(planner::default_param_dtype(cluster));
  return job;
}

CLI::Option* add_layout_flags(CLI::App& app, LayoutFlags& flags) {
  const char* const group = "Layout";
  add_choice(app, "--sharding", flags.layout.sharding, planner::parse_sharding,
             "full_shard, shard_grad_op, shard_optimizer, no_shard; with replicas hybrid_shard, "
             "hybrid_shard_zero2 (default: full_shard)")
      ->group(group);
  app.add_option("--ep,--expert-parallel", flags.layout.mesh.expert_parallel,
                 "Ranks of dp_shard x cp that a block's experts are shared out to")
      ->capture_default_str()
      ->type_name("N")
      ->group(group);
  add_choice(app, "--sequence-parallel", flags.sequence_parallel, parse_switch,
             "on or off (default: on where tp is more than 1)")
      ->group(group);
  add_choice(app, "--async-tp", flags.layout.async_tp, parse_switch,
             "on: cut the collectives of sequence parallelism into messages that run beside the "
             "pieces of their matrix multiplies (default: off)")
      ->group(group);
  app.add_option("--virtual-stages", flags.layout.virtual_stages,
                 "Chunks of blocks of each pipeline stage; more than 1: interleaved")
      ->capture_default_str()
      ->type_name("V")
      ->group(group);
  add_choice(app, "--optimizer-offload", flags.layout.optimizer_offload, parse_switch,
             "on: masters and moments lie in the host's memory, where AdamW runs (default: off)")
      ->group(group);
  add_choice(app, "--activation-checkpointing", flags.layout.activation_checkpointing,
             planner::parse_activation_checkpointing, "none, selective or full (default: none)")
      ->group(group);
  app.add_option("--checkpointed-blocks", flags.layout.checkpointed_blocks,
                 "How many blocks do so, the first ones (default: all)")
      ->type_name("N")
      ->group(group);
  app.add_option("--blocks-kept-gathered", flags.layout.blocks_kept_gathered,
                 "Last blocks that full_shard keeps gathered from forward to backward")
      ->capture_default_str()
      ->type_name("N")
      ->group(group);
  app.add_option("--prefetch-depth", flags.layout.prefetch_depth,
                 "Units that full_shard gathers ahead of the one that computes, 0 to 3")
      ->capture_default_str()
      ->type_name("N")
      ->group(group);
  add_choice(app, "--gradient-accumulation", flags.layout.gradient_accumulation,
             planner::parse_gradient_accumulation,
             "sharded: reduce each microbatch; unsharded: keep whole gradients and reduce once "
             "(default: sharded)")
      ->group(group);
  app.add_option("--loss-chunks", flags.loss_chunks,
                 "Pieces in which the output head is computed (default: pieces of at most 64 MiB "
                 "of logits)")
      ->type_name("N")
      ->group(group);
  return app.add_option("--accumulation", flags.layout.accumulation, "Microbatches a step")
      ->capture_default_str()
      ->type_name("A")
      ->group(group);
}

void complete_layout(planner::Layout& layout, const LayoutFlags& flags,
                     const planner::ModelSpec& model, const planner::Job& job) {
  layout.sequence_parallel =
      flags.sequence_parallel.value_or(planner::default_sequence_parallel(model, layout, job));
  layout.loss_chunks = flags.loss_chunks.value_or(1);
  if (!flags.loss_chunks && planner::violations(model, job, layout).empty()) {
    layout.loss_chunks = planner::default_loss_chunks(model, job, layout);
  }
}

void add_json_flag(CLI::App& app, bool& json) {
  app.add_flag("--json", json, "Print one JSON object on stdout");
}

}  // namespace meshplan::cli

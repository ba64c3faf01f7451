#pragma once

#include <CLI/CLI.hpp>
#include <cstdint>
#include <optional>
#include <string>

#include "common/error.h"
#include "planner/cluster/cluster_spec.h"
#include "planner/layout/layout.h"
#include "planner/model/model_spec.h"
#include "planner/plan/job_inputs.h"

namespace meshplan::cli {

/// A flag whose text is turned into `value` by `parse(text, flag)`; what that refuses with
/// common::Error is wrong usage.
template <class Value, class Parse>
CLI::Option* add_choice(CLI::App& app, const std::string& flag, Value& value, Parse parse,
                        const std::string& help) {
  const auto read = [&value, parse, flag](const std::string& text) {
    try {
      value = parse(text, flag);
    } catch (const common::Error& error) {
      throw CLI::ValidationError(error.what());
    }
  };
  return app.add_option_function<std::string>(flag, read, help)->type_name("");
}

/// A seed of random numbers: CLI11 itself takes -1 and numbers beyond 64 bits. Throws
/// kInvalidInput.
std::uint64_t parse_seed(const std::string& text, const std::string& flag);

/// Refuses what is not a finite number of at least 0; CLI11's own check lets nan through.
CLI::Validator finite_non_negative();

/// Throws kInvalidInput for an integer beyond 64 bits, which CLI11 turns into the nearest one that
/// is not.
CLI::Validator within_64_bits(const std::string& flag);

/// --model.
CLI::Option* add_model_flag(CLI::App& app, std::string& model,
                            const std::string& names = "--model");

/// --cluster, --nodes, --gpus-per-node, --network, --gpu-price.
struct ClusterFlags {
  std::string cluster;
  planner::ClusterChanges changes;
};
/// The option of --cluster, for the caller to require.
CLI::Option* add_cluster_flags(CLI::App& app, ClusterFlags& flags);
/// The cluster with what the flags change of it. Throws kInvalidInput.
planner::ClusterSpec load_cluster(const ClusterFlags& flags);

/// Both, so that what is wrong with either is said at once. Throws kInvalidInput.
struct Inputs {
  planner::LoadedModel model;
  planner::ClusterSpec cluster;
};
Inputs load_inputs(const std::string& model, const ClusterFlags& cluster);

/// --seq-length, --param-dtype, --matmul-dtype, --reduce-dtype, --master-dtype, --moment-dtype,
/// --loss-normalization, --max-grad-norm, --decay-norms-and-biases.
struct JobFlags {
  planner::Job job;
  std::optional<common::DataType> param_dtype;
  std::optional<std::int64_t> seq_length;
};
/// The option of --seq-length.
CLI::Option* add_job_flags(CLI::App& app, JobFlags& flags);
/// The job; param_dtype is bfloat16 on GPUs and float32 on CPUs unless the flag says otherwise, and
/// a sequence of the feed-forward demo is one row. Throws kUsage where the length of another
/// model's is neither given nor has a default.
planner::Job make_job(const JobFlags& flags, const planner::ModelSpec& model,
                      const planner::ClusterSpec& cluster,
                      std::optional<std::int64_t> default_seq_length = {});

/// --sharding, --sequence-parallel, --async-tp, --virtual-stages, --optimizer-offload,
/// --activation-checkpointing, --accumulation, --loss-chunks and the like: a layout without its
/// mesh.
struct LayoutFlags {
  planner::Layout layout;
  std::optional<bool> sequence_parallel;
  std::optional<std::int64_t> loss_chunks;
};
/// The option of --accumulation.
CLI::Option* add_layout_flags(CLI::App& app, LayoutFlags& flags);

/// Sets what depends on the mesh to the flags' values, or to the planner's choice:
/// sequence_parallel and loss_chunks (1 where the layout is invalid anyway).
void complete_layout(planner::Layout& layout, const LayoutFlags& flags,
                     const planner::ModelSpec& model, const planner::Job& job);

/// --json, the same everywhere.
void add_json_flag(CLI::App& app, bool& json);

}  // namespace meshplan::cli

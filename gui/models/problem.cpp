// SPDX-License-Identifier: GPL-3.0-or-later
#include "gui/models/problem.h"

#include <fmt/format.h>

#include <cmath>
#include <filesystem>
#include <limits>

#include "common/error.h"
#include "common/number_list.h"
#include "planner/model/feed_forward_model.h"
#include "planner/plan/job_inputs.h"

namespace meshplan::gui {
namespace {

using common::Error;
using common::ErrorCode;
using planner::Sharding;

/// A plan may stand where a model or a cluster is asked for.
std::optional<planner::Plan> planAt(const std::string& path) {
  std::error_code ignored;
  if (!std::filesystem::is_regular_file(path, ignored)) return std::nullopt;
  const common::Json json = common::read_json_file(path);
  if (!json.is_object() || !json.contains("layout") || !json.contains("job")) return std::nullopt;
  return planner::read_plan(json, path);
}

/// Reads fields one after the other, and keeps what is wrong with each.
class Resolver {
 public:
  explicit Resolver(const Inputs& inputs) : m_inputs(inputs) {}

  Resolution run() {
    auto problem = std::make_shared<Problem>();
    at(Field::kModel, [&](const std::string& text) { readModel(text, *problem); });
    readCluster(problem->cluster);
    readJob(*problem);
    readMesh(problem->space);
    readChoices(problem->space);
    if (m_errors.empty()) return {std::move(problem), {}};
    return {nullptr, std::move(m_errors)};
  }

 private:
  std::string textOf(Field field) const { return m_inputs[field].trimmed().toStdString(); }

  /// Calls `read` with the field's text, unless it is empty and may be.
  template <class Read>
  void at(Field field, Read&& read) {
    const std::string text = textOf(field);
    const FieldInfo& info = infoOf(field);
    if (text.empty() && info.when_empty != nullptr) return;
    try {
      if (text.empty())
        throw Error(ErrorCode::kInvalidInput, fmt::format("{}: is empty; give one", info.key));
      read(text);
    } catch (const std::exception& error) {
      m_errors.push_back({field, QString::fromUtf8(error.what())});
    }
  }

  static std::int64_t positive(const std::string& text, const char* key) {
    const QString typed = QString::fromStdString(text);
    bool read = false;
    const qlonglong number = typed.toLongLong(&read);
    if (!read || number < 1) {
      throw Error(ErrorCode::kInvalidInput,
                  fmt::format("{}={}: must be a whole number of at least 1", key, text));
    }
    return number;
  }

  static double nonNegative(const std::string& text, const char* key) {
    bool read = false;
    const double number = QString::fromStdString(text).toDouble(&read);
    if (!read || !std::isfinite(number) || number < 0) {
      throw Error(ErrorCode::kInvalidInput,
                  fmt::format("{}={}: must be a finite number of at least 0", key, text));
    }
    return number;
  }

  static void readModel(const std::string& text, Problem& problem) {
    if (const auto plan = planAt(text)) {
      problem.model = plan->model;
      problem.modelSource = plan->model_source;
      return;
    }
    planner::LoadedModel loaded = planner::load_model_with_source(text);
    problem.model = std::move(loaded.spec);
    problem.modelSource = std::move(loaded.source);
  }

  static planner::ClusterSpec load(const std::string& text,
                                   const planner::ClusterChanges& changes) {
    const auto plan = planAt(text);
    if (!plan) return planner::load_cluster(text, changes);
    planner::ClusterSpec cluster = plan->cluster;
    cluster.nodes = changes.nodes.value_or(cluster.nodes);
    if (changes.price) cluster.price.value = *changes.price;
    if (changes.network ||
        changes.devices_per_node.value_or(cluster.devices_per_node) != cluster.devices_per_node) {
      throw Error(ErrorCode::kInvalidInput,
                  "a plan's cluster keeps its nodes and their network; name a cluster instead");
    }
    return cluster;
  }

  /// The cluster is read again with each change, so that each has its own complaint.
  void readCluster(planner::ClusterSpec& cluster) {
    const std::string name = textOf(Field::kCluster);
    planner::ClusterChanges changes;
    at(Field::kCluster, [&](const std::string& text) { cluster = load(text, changes); });
    if (!m_errors.empty() && m_errors.back().field == Field::kCluster) return;
    const auto change = [&](Field field, auto&& set) {
      at(field, [&](const std::string& text) {
        planner::ClusterChanges more = changes;
        set(more, text);
        cluster = load(name, more);
        changes = std::move(more);
      });
    };
    change(Field::kNodes,
           [](auto& more, const auto& text) { more.nodes = positive(text, "nodes"); });
    change(Field::kGpusPerNode, [](auto& more, const auto& text) {
      more.devices_per_node = positive(text, "gpus_per_node");
    });
    change(Field::kNetwork, [](auto& more, const auto& text) { more.network = text; });
    change(Field::kGpuPrice,
           [](auto& more, const auto& text) { more.price = nonNegative(text, "gpu_price"); });
    at(Field::kMemoryLimit, [&](const std::string& text) {
      limitMemory(cluster, nonNegative(text, infoOf(Field::kMemoryLimit).key));
    });
  }

  static void limitMemory(planner::ClusterSpec& cluster, double gib) {
    const double capacity = static_cast<double>(cluster.device.memory.value);
    const double limit = gib * static_cast<double>(common::kGiB.value);
    if (limit <= 0 || limit > capacity) {
      throw Error(
          ErrorCode::kInvalidInput,
          fmt::format("memory_limit_gib={}: must be above 0 and at most the device's {:.1f}", gib,
                      capacity / static_cast<double>(common::kGiB.value)));
    }
    cluster.device.memory.value = static_cast<std::int64_t>(limit);
  }

  void readJob(Problem& problem) {
    planner::Job& job = problem.job;
    at(Field::kSeqLength,
       [&](const std::string& text) { job.seq_length = positive(text, "seq_length"); });
    if (planner::is_feed_forward(problem.model)) job.seq_length = 1;
    job.param_dtype = planner::default_param_dtype(problem.cluster);
    const auto type = [&](Field field, auto& value, auto&& parse) {
      at(field, [&](const std::string& text) { value = parse(text, infoOf(field).key); });
    };
    type(Field::kParamDtype, job.param_dtype, common::parse_data_type);
    type(Field::kMatmulDtype, job.matmul_dtype, planner::parse_matmul_dtype);
    type(Field::kReduceDtype, job.reduce_dtype, common::parse_data_type);
    type(Field::kMasterDtype, job.master_dtype, common::parse_data_type);
    type(Field::kMomentDtype, job.moment_dtype, common::parse_data_type);
    at(Field::kGlobalBatch, [&](const std::string& text) {
      problem.space.global_batch_size = positive(text, "global_batch_size");
    });
  }

  void readMesh(planner::SearchSpace& space) {
    const auto list = [&](Field field, std::vector<std::int64_t>& sizes) {
      at(field, [&](const std::string& text) {
        sizes = common::parse_number_list(text, infoOf(field).key);
        for (const std::int64_t size : sizes) positive(std::to_string(size), infoOf(field).key);
      });
    };
    list(Field::kMicrobatch, space.microbatch_size);
    list(Field::kTp, space.tp);
    list(Field::kDpShard, space.dp_shard);
    list(Field::kDpReplicate, space.dp_replicate);
    list(Field::kPp, space.pp);
    list(Field::kCp, space.cp);
  }

  void readChoices(planner::SearchSpace& space) {
    // The last is all that there is where a rank of dp is alone.
    space.sharding = {Sharding::kFullShard, Sharding::kShardGradOp, Sharding::kHybridShard,
                      Sharding::kHybridShardZero2, Sharding::kNoShard};
    at(Field::kSharding, [&](const std::string& text) {
      if (text == "all") return void(space.sharding = planner::SearchSpace{}.sharding);
      const Sharding sharding = planner::parse_sharding(text, "sharding");
      space.sharding = {sharding};
      if (sharding == Sharding::kFullShard) space.sharding.push_back(Sharding::kHybridShard);
      if (sharding == Sharding::kShardGradOp) space.sharding.push_back(Sharding::kHybridShardZero2);
    });
    at(Field::kCheckpointing, [&](const std::string& text) {
      space.activation_checkpointing = {
          planner::parse_activation_checkpointing(text, "activation_checkpointing")};
    });
    const auto onOrOff = [&](Field field, std::vector<bool>& tried) {
      at(field, [&](const std::string& text) {
        if (text != "on" && text != "off") {
          throw Error(ErrorCode::kInvalidInput,
                      fmt::format("{}={}: use on or off", infoOf(field).key, text));
        }
        tried = {text == "on"};
      });
    };
    onOrOff(Field::kSequenceParallel, space.sequence_parallel);
    onOrOff(Field::kAsyncTp, space.async_tp);
    onOrOff(Field::kOptimizerOffload, space.optimizer_offload);
  }

  const Inputs& m_inputs;
  std::vector<FieldError> m_errors;
};

}  // namespace

Resolution resolve(const Inputs& inputs) { return Resolver(inputs).run(); }

Inputs inputsOfPlan(const planner::Plan& plan, const QString& path) {
  Inputs inputs = exampleInputs();
  const planner::Job& job = plan.job;
  inputs[Field::kModel] = path;
  inputs[Field::kCluster] = path;
  for (const Field field : {Field::kNodes, Field::kGpusPerNode, Field::kNetwork, Field::kGpuPrice})
    inputs[field].clear();
  inputs[Field::kSeqLength] = QString::number(job.seq_length);
  inputs[Field::kGlobalBatch] = QString::number(planner::global_batch_size(plan.layout));
  inputs[Field::kParamDtype] = common::to_string(job.param_dtype);
  if (job.matmul_dtype) inputs[Field::kMatmulDtype] = common::to_string(*job.matmul_dtype);
  inputs[Field::kReduceDtype] = common::to_string(job.reduce_dtype);
  inputs[Field::kMasterDtype] = common::to_string(job.master_dtype);
  if (job.moment_dtype) inputs[Field::kMomentDtype] = common::to_string(*job.moment_dtype);
  if (plan.layout.async_tp) inputs[Field::kAsyncTp].clear();
  if (plan.layout.optimizer_offload) inputs[Field::kOptimizerOffload].clear();
  for (const auto& [field, axis] :
       {std::pair(Field::kPp, planner::Axis::kPp), std::pair(Field::kCp, planner::Axis::kCp)}) {
    inputs[field] = QString::number(plan.layout.mesh.sizes[axis]);
  }
  return inputs;
}

}  // namespace meshplan::gui

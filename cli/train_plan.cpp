#include "cli/train_plan.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <vector>

#include "common/checked.h"
#include "planner/catalog/catalog.h"
#include "planner/cluster/gpu_catalog.h"
#include "planner/model/coverage.h"

namespace meshplan::cli {
namespace {

using common::Error;
using common::ErrorCode;
using planner::Axis;

/// The model of this machine's first GPU, as its driver names it: "NVIDIA H100 80GB HBM3". Empty
/// without a GPU, or where CUDA_VISIBLE_DEVICES hides it.
std::string gpu_model() {
  const char* visible = std::getenv("CUDA_VISIBLE_DEVICES");
  if (visible != nullptr && (*visible == '\0' || *visible == '-')) return "";
  std::error_code absent;
  for (const auto& gpu : std::filesystem::directory_iterator("/proc/driver/nvidia/gpus", absent)) {
    std::ifstream file(gpu.path() / "information");
    for (std::string line; std::getline(file, line);) {
      if (!line.starts_with("Model:")) continue;
      const std::size_t begin = line.find_first_not_of(" \t", std::string("Model:").size());
      return begin == std::string::npos ? "" : line.substr(begin);
    }
  }
  return "";
}

/// The catalog's name of a cluster of this machine's devices.
std::string local_cluster() {
  const std::string model = gpu_model();
  if (model.empty()) return "local-cpu";
  if (const auto gpu = planner::gpu_of_driver(model)) return *gpu;
  throw Error(ErrorCode::kInvalidInput,
              fmt::format("the catalog has no cluster of this machine's '{}'; name the nearest one "
                          "of {}, or measure this "
                          "one with meshplan calibrate",
                          model, fmt::join(planner::catalog_names("clusters"), ", ")),
              "--cluster");
}

planner::ClusterSpec cluster_for(const TrainPlanFlags& flags, const planner::DeviceMesh& mesh,
                                 std::int64_t nodes) {
  if (!flags.cluster.cluster.empty()) return load_cluster(flags.cluster);
  const planner::ClusterChanges& changes = flags.cluster.changes;
  planner::ClusterSpec cluster = planner::load_cluster(local_cluster(), changes);
  // Of the mesh, which the layout's rules judge: not checked as flags of the cluster are.
  cluster.nodes = changes.nodes.value_or(nodes);
  cluster.devices_per_node = changes.devices_per_node.value_or(
      std::max<std::int64_t>(1, planner::world_size(mesh) / nodes));
  return cluster;
}

/// Multiplies sizes from flags, which planner::violations has not seen yet.
std::int64_t product(std::int64_t a, std::int64_t b) {
  return common::checked_multiply(a, b, "the layout");
}

planner::AxisSizes axis_sizes(const TrainPlanFlags& flags, std::vector<std::string>& problems) {
  planner::AxisSizes sizes;
  sizes[Axis::kTp] = flags.tp_size;
  const std::int64_t dp =
      flags.dp_size.value_or(product(flags.dp_replicate.value_or(1), flags.dp_shard.value_or(1)));
  const bool whole = flags.layout.layout.sharding == planner::Sharding::kNoShard;
  const std::int64_t replicas = flags.dp_replicate.value_or(whole && !flags.dp_shard ? dp : 1);
  sizes[Axis::kDpReplicate] = replicas;
  sizes[Axis::kDpShard] = flags.dp_shard.value_or(replicas > 0 ? dp / replicas : dp);
  if (const std::int64_t of_axes = product(replicas, sizes[Axis::kDpShard]); of_axes != dp) {
    problems.push_back(fmt::format("dp_size={}: must equal dp_replicate={} x dp_shard={} = {}", dp,
                                   replicas, sizes[Axis::kDpShard], of_axes));
  }
  if (flags.num_workers) {
    const std::string mismatch = worker_mismatch(*flags.num_workers, flags.tp_size, dp);
    if (!mismatch.empty()) problems.push_back(mismatch);
  }
  product(product(flags.tp_size, replicas), sizes[Axis::kDpShard]);
  return sizes;
}

}  // namespace

std::string worker_mismatch(std::int64_t num_workers, std::int64_t tp, std::int64_t dp) {
  const std::int64_t ranks = product(tp, dp);
  if (num_workers == ranks) return "";
  return fmt::format("num_workers={}: must equal tp_size={} x dp_size={} = {}", num_workers, tp, dp,
                     ranks);
}

planner::Plan make_train_plan(const TrainPlanFlags& flags, std::int64_t nodes) {
  std::vector<std::string> problems;
  planner::LoadedModel model = planner::load_model_with_source(flags.model);
  planner::require_trainable(model.spec);
  planner::Layout layout = flags.layout.layout;
  layout.mesh.sizes = axis_sizes(flags, problems);
  const planner::ClusterSpec cluster = cluster_for(flags, layout.mesh, nodes);
  layout.mesh.ranks_per_node = cluster.devices_per_node;
  const planner::Job job = make_job(flags.job, model.spec, cluster, kDefaultSeqLength);
  complete_layout(layout, flags.layout, model.spec, job);
  planner::Estimate estimate = planner::estimate(model.spec, cluster, job, layout);
  for (const planner::Violation& violation : estimate.violations)
    problems.push_back(violation.message);
  for (const planner::Violation& violation : planner::executor_violations(model.spec, job, layout))
    problems.push_back(violation.message);
  if (!problems.empty())
    throw Error(ErrorCode::kInvalidInput, fmt::format("{}", fmt::join(problems, "\n")));
  return {.model = std::move(model.spec),
          .model_source = std::move(model.source),
          .cluster = cluster,
          .job = job,
          .layout = layout,
          .estimate = std::move(estimate)};
}

}  // namespace meshplan::cli

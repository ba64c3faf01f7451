#include "planner/layout/option_rules.h"

#include <algorithm>

#include "common/text.h"
#include "planner/model/feed_forward_model.h"
#include "planner/program/expand.h"

namespace meshplan::planner {
namespace {

/// Chunks of all stages: the program of each of them has slots for all, twice and more.
constexpr std::int64_t kMaxChunks = 128;

void check_virtual_stages(Rules& rules, const ModelSpec& model, const Layout& layout) {
  const std::int64_t pp = layout.mesh.sizes[Axis::kPp];
  const std::int64_t chunks = layout.virtual_stages;
  if (chunks == 1) return;
  if (pp == 1) {
    return rules.require(false, "virtual_stages_pipelined",
                         "virtual_stages={}: chunks of blocks alternate over the stages of pp; use "
                         "virtual_stages=1, or pp of at least 2",
                         chunks);
  }
  const bool few = chunks <= kMaxChunks / pp;
  rules.require(few, "virtual_stages_bounded",
                "virtual_stages={} x pp={}: at most {} chunks are planned", chunks, pp, kMaxChunks);
  rules.require(!few || chunks * pp <= model.num_hidden_layers, "virtual_stages_bounded",
                "virtual_stages={} x pp={}: a chunk has at least one block; use at most "
                "num_hidden_layers={} of them",
                chunks, pp, model.num_hidden_layers);
  rules.require(layout.accumulation % pp == 0, "virtual_stages_rounds",
                "accumulation={}: must be a multiple of pp={} with virtual_stages={}, as rounds of "
                "pp microbatches go through chunk after chunk; use another accumulation, or "
                "virtual_stages=1",
                layout.accumulation, pp, chunks);
}

void check_data_types(Rules& rules, const Job& job, bool demo) {
  using enum common::DataType;
  const common::DataType matmul = matmul_dtype(job);
  rules.require(job.param_dtype != kFloat8, "data_type_supported",
                "param_dtype=float8: only matmul_dtype may be float8; use bfloat16");
  rules.require(matmul == job.param_dtype || matmul == kFloat8, "matmul_dtype_supported",
                "matmul_dtype={}: must be float8 or param_dtype={}", common::to_string(matmul),
                common::to_string(job.param_dtype));
  rules.require(!demo || matmul != kFloat8, "matmul_dtype_supported",
                "matmul_dtype=float8: the feed-forward demo multiplies in param_dtype={}; use that",
                common::to_string(job.param_dtype));
  const common::DataType moments = moment_dtype(job);
  rules.require(moments == job.master_dtype || moments == kFloat32 || moments == kBfloat16,
                "moment_dtype_supported",
                "moment_dtype={}: must be float32 or bfloat16, whose range squared gradients need",
                common::to_string(moments));
}

/// The devices' part of the host, which is said where it is not known.
void check_host(Rules& rules, const ClusterSpec& cluster) {
  rules.require(cluster.device.kind == DeviceKind::kGpu, "optimizer_offload_has_host",
                "optimizer_offload=on: the ranks of {} are processes of the host itself; use off",
                cluster.name);
  if (cluster.device.kind != DeviceKind::kGpu) return;
  rules.require(cluster.device.host_bandwidth.value > 0, "host_bandwidth_known",
                "optimizer_offload=on: {} does not say what passes between device and host; add "
                "device.host_bandwidth_bytes_per_s to the cluster file, or use off",
                cluster.name);
  rules.require(cluster.host_memory_bandwidth.value > 0, "host_memory_bandwidth_known",
                "optimizer_offload=on: {} does not say how fast its hosts' memory is; add "
                "host_memory_bandwidth_bytes_per_s to the cluster file, or use off",
                cluster.name);
}

}  // namespace

void check_options(Rules& rules, const ModelSpec& model, const Job& job, const Layout& layout) {
  const bool demo = is_feed_forward(model);
  check_virtual_stages(rules, model, layout);
  check_data_types(rules, job, demo);
  const bool splits = layout.sequence_parallel || layout.mesh.sizes[Axis::kTp] == 1;
  rules.require(!layout.async_tp || splits, "async_tp_splits_tokens",
                "async_tp=on: it is the gathers and reduce-scatters of sequence parallelism that "
                "are cut; use {}async_tp=off",
                demo ? "" : "sequence_parallel=on, or ");
}

void check_options(Rules& rules, const ClusterSpec& cluster, const Job& job, const Layout& layout) {
  rules.require(
      matmul_dtype(job) != common::DataType::kFloat8 || cluster.device.float8_peak.value > 0,
      "matmul_dtype_of_device",
      "matmul_dtype=float8: {} has no float8 matrix multiplies (float8_peak_flops_per_s=0); use "
      "matmul_dtype={}",
      cluster.device.name, common::to_string(job.param_dtype));
  const std::int64_t tp = layout.mesh.sizes[Axis::kTp];
  const bool within = tp >= 1 && cluster.devices_per_node % tp == 0;
  rules.require(!layout.async_tp || within, "async_tp_within_node",
                "async_tp=on: its ranks read each other's memory, which those of a node can; tp={} "
                "must divide devices_per_node={}, or use off",
                tp, cluster.devices_per_node);
  if (layout.optimizer_offload) check_host(rules, cluster);
}

void check_host_memory(Rules& rules, const ModelSpec& model, const ClusterSpec& cluster,
                       const Job& job, const Layout& layout) {
  if (!layout.optimizer_offload) return;
  // The second stage has as many blocks as any.
  const std::int64_t last = layout.mesh.sizes[Axis::kPp] - 1;
  common::Bytes of_rank;
  for (std::int64_t stage : {std::int64_t{0}, std::min<std::int64_t>(1, last), last}) {
    of_rank = std::max(
        of_rank, host_memory(make_step_context(model, job, layout, cluster.device.kind, stage)));
  }
  const common::Bytes of_node = of_rank * cluster.devices_per_node;
  rules.require(cluster.host_memory.value == 0 || of_node <= cluster.host_memory,
                "host_memory_fits",
                "optimizer_offload=on: a node's {} ranks keep up to {} each on their host, {} of "
                "its {}; use off, or shard over more ranks",
                cluster.devices_per_node, common::human(of_rank), common::human(of_node),
                common::human(cluster.host_memory));
}

void check_executor_options(Rules& rules, const Job& job, const Layout& layout) {
  rules.require(layout.virtual_stages == 1, "executor_runs_virtual_stages",
                "virtual_stages={}: the executor has no pipeline; use 1", layout.virtual_stages);
  rules.require(!layout.async_tp, "executor_runs_async_tp",
                "async_tp=on: the executor's collectives over tp are whole; use off");
  rules.require(
      !layout.optimizer_offload, "executor_runs_optimizer_offload",
      "optimizer_offload=on: the executor's optimizer runs where the model does; use off");
  rules.require(matmul_dtype(job) == job.param_dtype, "executor_runs_matmul_dtype",
                "matmul_dtype={}: the executor multiplies in param_dtype={}; use that",
                common::to_string(matmul_dtype(job)), common::to_string(job.param_dtype));
  rules.require(moment_dtype(job) == job.master_dtype, "executor_runs_moment_dtype",
                "moment_dtype={}: the executor keeps moments in master_dtype={}; use that",
                common::to_string(moment_dtype(job)), common::to_string(job.master_dtype));
}

}  // namespace meshplan::planner

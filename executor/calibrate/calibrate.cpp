#include "executor/calibrate/calibrate.h"

#include <ATen/ATen.h>
#include <fmt/format.h>
#include <spdlog/cfg/env.h>
#include <spdlog/spdlog.h>

#include <CLI/CLI.hpp>

#include "common/error.h"
#include "common/file.h"
#include "common/text.h"
#include "executor/calibrate/measure_device.h"
#include "executor/calibrate/measure_links.h"
#include "executor/comm/mesh_communicators.h"
#include "executor/launch/launch_flags.h"
#include "executor/launch/liveness.h"
#include "executor/launch/rendezvous.h"
#include "executor/memory/device.h"
#include "planner/layout/rules.h"
#include "planner/model/coverage.h"
#include "planner/model/parameter_table.h"

namespace meshplan::executor {
namespace {

using planner::Axis;
using planner::CollectiveKind;

MeasuredJob job_of(const CalibrationOptions& options,
                   const formats::LaunchEnvironment& environment) {
  MeasuredJob measured;
  measured.model = planner::load_model(options.model);
  planner::require_trainable(measured.model);
  measured.job.seq_length = options.seq_length;
  measured.layout.microbatch_size = options.microbatch_size;
  measured.layout.mesh.sizes[Axis::kDpShard] = options.dp_shard;
  measured.layout.mesh.sizes[Axis::kTp] = options.tp;
  measured.layout.mesh.ranks_per_node = environment.local_world_size;
  if (const auto broken = planner::violations(measured.model, measured.job, measured.layout);
      !broken.empty()) {
    throw common::Error(common::ErrorCode::kInvalidInput, planner::to_string(broken), "calibrate");
  }
  if (planner::world_size(measured.layout.mesh) != environment.world_size) {
    throw common::Error(common::ErrorCode::kInvalidInput,
                        fmt::format("dp_shard={} x tp={}: must equal the {} ranks started",
                                    options.dp_shard, options.tp, environment.world_size),
                        "calibrate");
  }
  return measured;
}

planner::ClusterSpec cluster_of(const MeasuredJob& measured,
                                const formats::LaunchEnvironment& environment, at::Device device) {
  planner::ClusterSpec cluster;
  cluster.name = "calibrated";
  cluster.device.name = device.is_cpu() ? "cpu" : "gpu";
  cluster.device.kind = device.is_cpu() ? planner::DeviceKind::kCpu : planner::DeviceKind::kGpu;
  const std::int64_t sharers = device.is_cpu() ? environment.local_world_size : 1;
  cluster.device.memory = memory_of(device) / sharers;
  cluster.nodes = environment.world_size / environment.local_world_size;
  cluster.devices_per_node = environment.local_world_size;
  cluster.source = fmt::format("meshplan calibrate: {} ranks at once, {} at sequence {} x {}",
                               environment.world_size, measured.model.name, measured.job.seq_length,
                               measured.layout.microbatch_size);
  return cluster;
}

/// A mesh of the same ranks with one axis.
planner::DeviceMesh flat(const planner::DeviceMesh& mesh) {
  planner::DeviceMesh all;
  all.sizes[Axis::kDpShard] = planner::world_size(mesh);
  all.ranks_per_node = mesh.ranks_per_node;
  return all;
}

void report(const planner::ClusterSpec& cluster) {
  const planner::DeviceSpec& device = cluster.device;
  spdlog::info(
      "matrix multiply  {:.1f} GFLOP/s a rank (float32), {:.1f} (bfloat16); attention {:.1f}",
      device.float32_peak.value * 1e-9, device.bfloat16_peak.value * 1e-9,
      device.attention_rate.value * 1e-9);
  spdlog::info("memory           {:.1f} GB/s a rank; smallest kernel {}",
               device.memory_bandwidth.value * 1e-9, common::human(device.launch_overhead));
  if (planner::world_size(cluster) == 1) return;
  const auto report_link = [](const char* where, const planner::LinkSpec& link) {
    for (CollectiveKind kind :
         {CollectiveKind::kAllReduce, CollectiveKind::kAllGather, CollectiveKind::kReduceScatter}) {
      spdlog::info("{:<16} {} a step of the ring + {:.2f} GB/s {}", planner::to_string(kind),
                   common::human(link[kind].latency), link[kind].bandwidth.value * 1e-9, where);
    }
  };
  report_link("within a node", cluster.intra_node);
  if (cluster.whole_node) report_link("over all of a node", *cluster.whole_node);
  if (cluster.nodes > 1) report_link("between nodes", cluster.inter_node);
  spdlog::info("overlap          {:.0f} % of a collective runs beside compute",
               cluster.overlap * 100);
}

}  // namespace

void calibrate(const CalibrationOptions& options) {
  const formats::LaunchEnvironment environment =
      formats::read_launch_environment(formats::process_environment(), options.launch);
  const MeasuredJob measured = job_of(options, environment);
  const Rendezvous rendezvous(environment,
                              {.timeout = std::chrono::seconds(options.launch.timeout_s),
                               .file = options.output.string() + ".meeting"});
  Liveness liveness(rendezvous);
  liveness.guard([&] {
    const at::Device device = device_for(environment.local_rank);
    const CommunicationOptions communication{
        .single_node = environment.local_world_size == environment.world_size,
        .network_address = rendezvous.network_address()};
    MeshCommunicators groups(measured.layout.mesh, environment.rank, device,
                             rendezvous.store("groups"), communication);
    MeshCommunicators all(flat(measured.layout.mesh), environment.rank, device,
                          rendezvous.store("all"), communication);
    spdlog::cfg::load_env_levels();
    if (environment.rank != 0) spdlog::set_level(spdlog::level::warn);
    const RankTimer timer(all[Axis::kDpShard], device);
    planner::ClusterSpec cluster = cluster_of(measured, environment, device);
    const ComputeWork block = measure_device(timer, measured, device, cluster.device);
    measure_links(timer, block, measured.layout.mesh, groups, all, device, cluster);
    groups.barrier();
    report(cluster);
    if (environment.rank == 0)
      common::write_file(options.output, planner::to_json(cluster).dump(2) + "\n");
  });
}

void add_calibrate(CLI::App& program, CalibrationOptions& options) {
  CLI::App* command =
      program.add_subcommand("calibrate", "Measure this cluster, as one of its ranks");
  command->add_option("--output", options.output, "Receives the cluster file")->required();
  command->add_option("--model", options.model, "Whose shapes to measure")->required();
  command->add_option("--seq-length", options.seq_length)->capture_default_str();
  command->add_option("--microbatch-size", options.microbatch_size)->capture_default_str();
  command->add_option("--dp-shard", options.dp_shard)->capture_default_str();
  command->add_option("--tp", options.tp)->capture_default_str();
  add_launch_flags(*command, options.launch);
  command->callback([&options] { calibrate(options); });
}

}  // namespace meshplan::executor

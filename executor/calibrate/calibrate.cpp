#include "executor/calibrate/calibrate.h"

#include <ATen/ATen.h>
#include <fmt/format.h>
#include <spdlog/spdlog.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <optional>

#include "common/error.h"
#include "common/file.h"
#include "common/text.h"
#include "executor/calibrate/measure.h"
#include "executor/comm/mesh_communicators.h"
#include "executor/launch/liveness.h"
#include "executor/launch/rendezvous.h"
#include "executor/memory/device.h"
#include "planner/cost/price.h"
#include "planner/layout/rules.h"
#include "planner/model/coverage.h"
#include "planner/model/parameter_table.h"
#include "planner/program/expand.h"

namespace meshplan::executor {
namespace {

using planner::Axis;
using planner::CollectiveKind;
using planner::Operation;

struct Shapes {
  planner::ModelSpec model;
  planner::Job job;
  planner::Layout layout;
};

Shapes shapes_of(const CalibrationOptions& options, const LaunchEnvironment& environment) {
  Shapes shapes;
  shapes.model = planner::load_model(options.model);
  planner::require_trainable(shapes.model);
  shapes.job.seq_length = options.seq_length;
  shapes.layout.microbatch_size = options.microbatch_size;
  shapes.layout.mesh.sizes[Axis::kDpShard] = options.dp_shard;
  shapes.layout.mesh.sizes[Axis::kTp] = options.tp;
  shapes.layout.mesh.ranks_per_node = environment.local_world_size;
  if (const auto broken = planner::violations(shapes.model, shapes.job, shapes.layout);
      !broken.empty()) {
    throw common::Error(common::ErrorCode::kInvalidInput, planner::to_string(broken), "calibrate");
  }
  if (planner::world_size(shapes.layout.mesh) != environment.world_size) {
    throw common::Error(common::ErrorCode::kInvalidInput,
                        fmt::format("dp_shard={} x tp={}: must equal the {} ranks started",
                                    options.dp_shard, options.tp, environment.world_size),
                        "calibrate");
  }
  return shapes;
}

/// The matrix multiplies of a block's forward and backward pass.
std::vector<Operation> block_matmuls(const Shapes& shapes, planner::DeviceKind device) {
  const planner::StepContext context =
      planner::make_step_context(shapes.model, shapes.job, shapes.layout, device);
  std::vector<Operation> matmuls;
  for (planner::Opcode opcode : {planner::Opcode::kForward, planner::Opcode::kBackward}) {
    const planner::Instruction instruction{.opcode = opcode,
                                           .computation = planner::Computation::kBlock,
                                           .unit = planner::block_unit(shapes.model, 0)};
    for (const Operation& operation : planner::expand(context, instruction)) {
      if (operation.kind == planner::OperationKind::kKernel &&
          operation.kernel == planner::KernelKind::kMatmul) {
        matmuls.push_back(operation);
      }
    }
  }
  return matmuls;
}

common::Bytes host_memory() {
  return common::Bytes(static_cast<std::int64_t>(sysconf(_SC_PHYS_PAGES)) * sysconf(_SC_PAGESIZE));
}

/// Figures are means over ranks, so that every rank comes to the same ones.
class Calibration {
 public:
  Calibration(const Shapes& shapes, const LaunchEnvironment& environment, MeshCommunicators& groups,
              at::Device device)
      : shapes_(shapes),
        groups_(groups),
        device_(device),
        kind_(device.is_cpu() ? planner::DeviceKind::kCpu : planner::DeviceKind::kGpu) {
    cluster_.name = "calibrated";
    cluster_.device.name = device.is_cpu() ? "cpu" : "gpu";
    cluster_.device.kind = kind_;
    cluster_.device.memory = host_memory() / environment.local_world_size;
    cluster_.nodes = environment.world_size / environment.local_world_size;
    cluster_.devices_per_node = environment.local_world_size;
    cluster_.source = fmt::format("meshplan calibrate: {} ranks at once, {} at sequence {} x {}",
                                  environment.world_size, shapes.model.name, shapes.job.seq_length,
                                  shapes.layout.microbatch_size);
  }

  planner::ClusterSpec run() {
    measure_elementwise_kernels();
    measure_matmuls();
    measure_links();
    return cluster_;
  }

 private:
  double mean_over_ranks(double value) {
    const at::Tensor sum = at::full({1}, value, at::TensorOptions(at::kDouble).device(device_));
    double ranks = 1;
    for (Axis axis : {Axis::kTp, Axis::kDpShard}) {
      groups_[axis].all_reduce(sum, ReduceOp::kSum).wait();
      ranks *= static_cast<double>(groups_[axis].size());
    }
    return sum.item<double>() / ranks;
  }

  Measurement mean_over_ranks(const Measurement& measured) {
    return {measured.size, mean_over_ranks(measured.seconds)};
  }

  void measure_elementwise_kernels() {
    const std::int64_t tokens = planner::microbatch_tokens(shapes_.layout, shapes_.job);
    std::vector<Measurement> points;
    for (std::int64_t elements :
         {std::int64_t{64}, tokens * shapes_.model.hidden_size / 4,
          tokens * shapes_.model.hidden_size, tokens * shapes_.model.intermediate_size}) {
      points.push_back(mean_over_ranks(measure_elementwise(elements, device_)));
    }
    const LineFit line = fit_line(points);
    cluster_.device.launch_overhead = common::Seconds(line.fixed);
    cluster_.device.memory_bandwidth = common::BytesPerSecond(line.rate);
  }

  common::FlopsPerSecond matmul_rate(at::ScalarType type, double& fixed) {
    std::vector<Measurement> points;
    for (const Operation& matmul : block_matmuls(shapes_, kind_)) {
      points.push_back(mean_over_ranks(measure_matmul(matmul, type, device_)));
    }
    const LineFit line = fit_line(points);
    fixed = line.fixed;
    return common::FlopsPerSecond(line.rate);
  }

  void measure_matmuls() {
    planner::DeviceSpec& device = cluster_.device;
    double fixed = 0;
    device.bfloat16_peak = matmul_rate(at::kBFloat16, fixed);
    device.float32_peak = matmul_rate(at::kFloat, fixed);
    // A multiply costs its FLOPs and half_flops more at the full rate: what it costs beyond any
    // kernel's launch.
    const double beyond = std::max(0.0, fixed - device.launch_overhead.value);
    device.matmul = {.ceiling = 1.0,
                     .half_flops = common::Flops(beyond * device.float32_peak.value)};
  }

  planner::CollectiveCost measure_cost(Communicator& group, CollectiveKind kind) {
    std::vector<Measurement> points;
    for (std::int64_t elements : {1 << 8, 1 << 12, 1 << 15, 1 << 17, 1 << 19, 1 << 20}) {
      points.push_back(mean_over_ranks(measure_collective(group, kind, elements, device_)));
    }
    const LineFit line = fit_line(points);
    return {.latency = common::Seconds(line.fixed / static_cast<double>(group.size() - 1)),
            .bandwidth = common::BytesPerSecond(line.rate)};
  }

  void measure_links() {
    std::optional<planner::LinkSpec> within;
    std::optional<planner::LinkSpec> between;
    for (Axis axis : {Axis::kDpShard, Axis::kTp}) {
      Communicator& group = groups_[axis];
      if (group.size() == 1) continue;
      const planner::LinkSpec link{
          .all_reduce = measure_cost(group, CollectiveKind::kAllReduce),
          .all_gather = measure_cost(group, CollectiveKind::kAllGather),
          .reduce_scatter = measure_cost(group, CollectiveKind::kReduceScatter)};
      (planner::spans_nodes(shapes_.layout.mesh, axis) ? between : within) = link;
      cluster_.overlap =
          mean_over_ranks(measure_overlap(group, block_matmuls(shapes_, kind_).front(), device_));
    }
    if (!within && !between) {
      throw common::Error(common::ErrorCode::kInvalidInput,
                          "a single rank has no links to measure; start at least 2 (--ranks 2)",
                          "calibrate");
    }
    cluster_.intra_node = within ? *within : *between;
    cluster_.inter_node = between ? *between : *within;
  }

  const Shapes& shapes_;
  MeshCommunicators& groups_;
  at::Device device_;
  planner::DeviceKind kind_;
  planner::ClusterSpec cluster_;
};

void report(const planner::ClusterSpec& cluster) {
  spdlog::info("matrix multiply  {:.1f} GFLOP/s a rank (float32), {:.1f} (bfloat16)",
               cluster.device.float32_peak.value * 1e-9, cluster.device.bfloat16_peak.value * 1e-9);
  spdlog::info("memory           {:.1f} GB/s a rank; smallest kernel {}",
               cluster.device.memory_bandwidth.value * 1e-9,
               common::human(cluster.device.launch_overhead));
  for (CollectiveKind kind :
       {CollectiveKind::kAllReduce, CollectiveKind::kAllGather, CollectiveKind::kReduceScatter}) {
    const planner::CollectiveCost& cost = cluster.intra_node[kind];
    spdlog::info("{:<16} {} + {:.2f} GB/s", planner::to_string(kind), common::human(cost.latency),
                 cost.bandwidth.value * 1e-9);
  }
  spdlog::info("overlap          {:.0f} % of a collective runs beside compute",
               cluster.overlap * 100);
}

}  // namespace

void calibrate(const CalibrationOptions& options) {
  const LaunchEnvironment environment = read_launch_environment();
  const Shapes shapes = shapes_of(options, environment);
  const Rendezvous rendezvous(environment);
  Liveness liveness(rendezvous);
  liveness.guard([&] {
    const at::Device device = device_for(environment.local_rank);
    MeshCommunicators groups(
        shapes.layout.mesh, environment.rank, device, rendezvous.store("groups"),
        {.single_node = environment.local_world_size == environment.world_size});
    const planner::ClusterSpec cluster = Calibration(shapes, environment, groups, device).run();
    groups.barrier();
    if (environment.rank != 0) return;
    report(cluster);
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
  command->callback([&options] { calibrate(options); });
}

}  // namespace meshplan::executor

#include "planner/cost/estimate.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <memory>

#include "cli/command.h"
#include "cli/search_flags.h"
#include "common/text.h"
#include "planner/runtime/runtime_estimate.h"
#include "planner/search/automatic_sizes.h"

namespace meshplan::cli {
namespace {

using common::human;
using planner::Axis;
using planner::Estimate;

struct EstimateFlags {
  std::string model;
  ClusterFlags cluster;
  JobFlags job;
  LayoutFlags layout;
  std::string runtime = planner::runtime_names().front();
  bool json = false;
};

/// What is priced, all of it.
struct Priced {
  planner::LoadedModel model;
  planner::ClusterSpec cluster;
  planner::Job job;
  planner::Layout layout;
};

Priced read(const EstimateFlags& flags) {
  auto [model, cluster] = load_inputs(flags.model, flags.cluster);
  Priced priced{std::move(model), std::move(cluster), {}, flags.layout.layout};
  priced.job = make_job(flags.job, priced.model.spec, priced.cluster);
  planner::DeviceMesh& mesh = priced.layout.mesh;
  mesh.ranks_per_node = priced.cluster.devices_per_node;
  mesh.sizes = with_automatic_sizes(mesh.sizes, priced.cluster);
  complete_layout(priced.layout, flags.layout, priced.model.spec, priced.job);
  return priced;
}

std::string memory_table(const planner::MemoryEstimate& memory) {
  std::vector<std::vector<std::string>> rows = {{"memory", "bytes", ""}};
  const auto add = [&rows](const std::string& what, common::Bytes size) {
    rows.push_back({what, std::to_string(size.value), human(size)});
  };
  for (std::size_t c = 0; c < planner::kMemoryClasses; ++c) {
    add(to_string(static_cast<planner::MemoryClass>(c)), memory.breakdown[c]);
  }
  add("peak allocated", memory.peak_allocated);
  add("peak reserved", memory.peak_reserved);
  add("peak of the device", memory.peak_device);
  add("capacity", memory.capacity);
  if (memory.host.value > 0) add("of the host, a rank", memory.host);
  return common::format_table(rows) + fmt::format("the peak is in {}\n", memory.peak_instruction);
}

std::string communication_table(const planner::Traffic& traffic) {
  std::vector<std::vector<std::string>> rows = {
      {"axis", "operations", "bytes", "wire bytes", "time", "exposed"}};
  for (Axis axis : planner::kShownAxes) {
    const planner::AxisTraffic& entry = traffic[static_cast<std::size_t>(axis)];
    if (entry.operations == 0) continue;
    rows.push_back({to_string(axis), std::to_string(entry.operations),
                    std::to_string(entry.bytes.value), std::to_string(entry.wire_bytes.value),
                    human(entry.time), human(entry.exposed)});
  }
  return rows.size() == 1 ? "no communication\n" : common::format_table(rows);
}

using Rows = std::vector<std::vector<std::string>>;

void add_cost(Rows& rows, const planner::TokenCost& cost) {
  if (cost.price) rows.push_back({"price of a million tokens", fmt::format("{:.3g}", *cost.price)});
  if (cost.kilowatt_hours)
    rows.push_back({"kWh of a million tokens", fmt::format("{:.3g}", *cost.kilowatt_hours)});
}

void add_first_order(Rows& rows, const planner::FirstOrderVolumes& volumes) {
  rows.push_back(
      {"first order, tp: activations of one forward pass", human(volumes.tp_activations)});
  rows.push_back({"first order, fsdp: one gather of the model", human(volumes.fsdp_parameters)});
}

std::string speed_table(const Estimate& estimate) {
  Rows rows = {{"step", "value"},
               {"time", human(estimate.step_time)},
               {"compute", human(estimate.compute_time)},
               {"tokens/s/rank", fmt::format("{:.0f}", estimate.tokens_per_second_per_gpu)},
               {"MFU", percent(estimate.mfu)},
               {"model FLOPs/rank", common::human_count(estimate.model_flops.value)},
               {"hardware FLOPs/rank", common::human_count(estimate.hardware_flops.value)}};
  add_first_order(rows, estimate.first_order);
  add_cost(rows, estimate.cost);
  return common::format_table(rows);
}

std::string runtime_table(const planner::RuntimeEstimate& estimate) {
  const planner::PeerEstimate& peer = estimate.peer;
  Rows rows = {{"step under " + estimate.runtime, "value"},
               {"time", human(peer.step_time)},
               {"tokens/s/rank", fmt::format("{:.0f}", peer.tokens_per_second_per_gpu)},
               {"MFU", percent(estimate.mfu)},
               {"peak allocated", human(peer.peak_allocated)},
               {"peak reserved", human(peer.peak_reserved)},
               {"capacity", human(estimate.capacity)}};
  add_first_order(rows, estimate.first_order);
  add_cost(rows, estimate.cost);
  return common::format_table(rows);
}

int refuse(const std::vector<planner::Violation>& violations) {
  fmt::print(stderr, "meshplan estimate: the layout is invalid:\n{}\n", to_string(violations));
  return static_cast<int>(common::ErrorCode::kInvalidInput);
}

int estimate_of_runtime(const EstimateFlags& flags) {
  const Priced priced = read(flags);
  const planner::RuntimeEstimate estimate =
      planner::estimate({.runtime = planner::find_runtime(flags.runtime),
                         .model = priced.model.spec,
                         .cluster = priced.cluster,
                         .job = priced.job,
                         .layout = priced.layout,
                         .chunked_loss = flags.layout.loss_chunks.value_or(1) > 1});
  if (flags.json) print_json(to_json(estimate));
  if (!estimate.violations.empty()) return refuse(estimate.violations);
  if (!flags.json) fmt::print("{}", runtime_table(estimate));
  if (estimate.fits) return 0;
  fmt::print(stderr, "meshplan estimate: the layout does not fit: {} reserves {} of {}\n",
             estimate.runtime, human(estimate.peer.peak_reserved), human(estimate.capacity));
  return static_cast<int>(common::ErrorCode::kNoLayoutFits);
}

int run_estimate(const EstimateFlags& flags) {
  if (flags.runtime != planner::runtime_names().front()) return estimate_of_runtime(flags);
  const auto [model, cluster, job, layout] = read(flags);
  const Estimate priced = planner::estimate(model.spec, cluster, job, layout);
  if (flags.json) print_json(to_json(priced));
  if (!priced.violations.empty()) return refuse(priced.violations);
  if (!flags.json) {
    fmt::print("{}\n{}\n{}", speed_table(priced), memory_table(priced.memory),
               communication_table(priced.traffic));
  }
  if (!priced.fits) {
    fmt::print(stderr,
               "meshplan estimate: the layout does not fit: it needs {} of {}; the peak is in {}\n",
               human(priced.memory.peak_device), human(priced.memory.capacity),
               priced.memory.peak_instruction);
    return static_cast<int>(common::ErrorCode::kNoLayoutFits);
  }
  return 0;
}

void add_mesh_flags(CLI::App& app, planner::Layout& layout) {
  const auto add = [&](const char* name, Axis axis, const char* help) {
    return app.add_option(name, layout.mesh.sizes[axis], help)
        ->capture_default_str()
        ->type_name("N")
        ->group("Mesh");
  };
  add("--dp-replicate", Axis::kDpReplicate, "Replicas of the sharded parameters");
  add("--dp-shard", Axis::kDpShard,
      "Ranks that a replica's parameters are sharded over; auto: the nodes")
      ->transform(automatic_size());
  add("--tp", Axis::kTp, "Ranks of a tensor-parallel group; auto: the devices of a node")
      ->transform(automatic_size());
  add("--pp", Axis::kPp, "Pipeline stages");
  add("--cp", Axis::kCp, "Ranks that share a sequence");
  app.add_option("--microbatch-size", layout.microbatch_size,
                 "Sequences of a rank and forward pass")
      ->capture_default_str()
      ->type_name("B")
      ->group("Layout");
}

}  // namespace

Action define_estimate(CLI::App& app) {
  app.description(
      "Price one layout, given in full: memory, communication, time (exit 3: invalid, 4: does not "
      "fit)\n\n"
      "Examples:\n"
      "  meshplan estimate --model llama-3-8b --cluster h100-sxm --seq-length 8192 --dp-shard 4 "
      "--tp 2\n"
      "  meshplan estimate --model demo-qwen2 --cluster local-cpu --seq-length 128 --dp-shard 2 "
      "--tp 2 --json\n"
      "  meshplan estimate --model llama-3-8b --cluster h100-sxm --nodes 8 --seq-length 8192 --tp "
      "auto "
      "--dp-shard auto --runtime torch_compile");
  const auto flags = std::make_shared<EstimateFlags>();
  add_model_flag(app, flags->model)->required();
  add_cluster_flags(app, flags->cluster)->required();
  add_job_flags(app, flags->job);
  add_mesh_flags(app, flags->layout.layout);
  add_layout_flags(app, flags->layout);
  app.add_option("--runtime", flags->runtime,
                 fmt::format("Whose run is predicted: {}; gradients and optimizer are then kept as "
                             "that one keeps them",
                             fmt::join(planner::runtime_names(), ", ")))
      ->check(CLI::IsMember(planner::runtime_names()))
      ->capture_default_str()
      ->type_name("");
  add_json_flag(app, flags->json);
  return [flags] { return run_estimate(*flags); };
}

}  // namespace meshplan::cli

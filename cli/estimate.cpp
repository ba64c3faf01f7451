#include "planner/cost/estimate.h"

#include <fmt/format.h>

#include <array>
#include <memory>

#include "cli/command.h"
#include "cli/options.h"
#include "common/text.h"

namespace meshplan::cli {
namespace {

using common::human;
using planner::Axis;
using planner::Estimate;

/// Programs whose runs differ in memory and speed.
constexpr std::array kRuntimes = {"meshplan", "torch_eager", "torch_compile", "megatron"};

struct EstimateFlags {
  std::string model;
  ClusterFlags cluster;
  JobFlags job;
  LayoutFlags layout;
  std::string runtime = kRuntimes.front();
  bool json = false;
};

planner::Estimate price(const EstimateFlags& flags) {
  const auto [model, cluster] = load_inputs(flags.model, flags.cluster);
  const planner::Job job = make_job(flags.job, model.spec, cluster);
  planner::Layout layout = flags.layout.layout;
  layout.mesh.ranks_per_node = cluster.devices_per_node;
  complete_layout(layout, flags.layout, model.spec, job);
  Estimate priced = planner::estimate(model.spec, cluster, job, layout);
  if (flags.runtime != kRuntimes.front()) {
    // No figure of another runtime's run may be taken for a prediction of this one.
    Estimate refused;
    refused.violations = std::move(priced.violations);
    refused.violations.push_back(
        {"runtime_supported",
         fmt::format("runtime={}: is not modelled yet; use meshplan", flags.runtime)});
    return refused;
  }
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
  for (Axis axis : {Axis::kTp, Axis::kDpShard, Axis::kDpReplicate, Axis::kCp, Axis::kPp}) {
    const planner::AxisTraffic& entry = traffic[static_cast<std::size_t>(axis)];
    if (entry.operations == 0) continue;
    rows.push_back({to_string(axis), std::to_string(entry.operations),
                    std::to_string(entry.bytes.value), std::to_string(entry.wire_bytes.value),
                    human(entry.time), human(entry.exposed)});
  }
  return rows.size() == 1 ? "no communication\n" : common::format_table(rows);
}

std::string speed_table(const Estimate& estimate) {
  return common::format_table(
      {{"step", "value"},
       {"time", human(estimate.step_time)},
       {"compute", human(estimate.compute_time)},
       {"tokens/s/rank", fmt::format("{:.0f}", estimate.tokens_per_second_per_gpu)},
       {"MFU", percent(estimate.mfu)},
       {"model FLOPs/rank", common::human_count(estimate.model_flops.value)},
       {"hardware FLOPs/rank", common::human_count(estimate.hardware_flops.value)},
       {"first order, tp: activations of one forward pass",
        human(estimate.first_order.tp_activations)},
       {"first order, fsdp: one gather of the model",
        human(estimate.first_order.fsdp_parameters)}});
}

int run_estimate(const EstimateFlags& flags) {
  const Estimate priced = price(flags);
  if (flags.json) print_json(to_json(priced));
  if (!priced.violations.empty()) {
    fmt::print(stderr, "meshplan estimate: the layout is invalid:\n{}\n",
               to_string(priced.violations));
    return static_cast<int>(common::ErrorCode::kInvalidInput);
  }
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
    app.add_option(name, layout.mesh.sizes[axis], help)
        ->capture_default_str()
        ->type_name("N")
        ->group("Mesh");
  };
  add("--dp-replicate", Axis::kDpReplicate, "Replicas of the sharded parameters");
  add("--dp-shard", Axis::kDpShard, "Ranks that a replica's parameters are sharded over");
  add("--tp", Axis::kTp, "Ranks of a tensor-parallel group");
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
      "--tp 2 --json");
  const auto flags = std::make_shared<EstimateFlags>();
  add_model_flag(app, flags->model)->required();
  add_cluster_flags(app, flags->cluster)->required();
  add_job_flags(app, flags->job);
  add_mesh_flags(app, flags->layout.layout);
  add_layout_flags(app, flags->layout);
  app.add_option("--runtime", flags->runtime,
                 "Whose run is predicted: meshplan; not yet torch_eager, torch_compile, megatron")
      ->check(CLI::IsMember(std::vector<std::string>(kRuntimes.begin(), kRuntimes.end())))
      ->capture_default_str()
      ->type_name("");
  add_json_flag(app, flags->json);
  return [flags] { return run_estimate(*flags); };
}

}  // namespace meshplan::cli

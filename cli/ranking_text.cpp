#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <numeric>

#include "cli/command.h"
#include "cli/mesh_diagram.h"
#include "cli/ranking.h"
#include "common/text.h"
#include "planner/explain/explanation.h"
#include "planner/explain/pareto.h"
#include "planner/explain/rejections.h"
#include "planner/model/parameter_table.h"

namespace meshplan::cli {
namespace {

using common::human;
using planner::Axis;

constexpr std::size_t kReasonsShown = 5;

std::int64_t wire_bytes(const planner::Estimate& estimate, Axis axis) {
  return estimate.traffic[static_cast<std::size_t>(axis)].wire_bytes.value;
}

/// The axes that the table has a column for: pp and cp where they are tried.
std::vector<Axis> shown_axes(const Ranking& ranking) {
  std::vector<Axis> axes = {Axis::kTp, Axis::kDpShard, Axis::kDpReplicate};
  const std::vector<std::int64_t> alone = {1};
  const bool every_choice = ranking.considered > 0;
  if (every_choice || ranking.request.cp != alone) axes.push_back(Axis::kCp);
  if (every_choice || ranking.request.pp != alone) axes.push_back(Axis::kPp);
  return axes;
}

/// What a layout of every choice is told from others by, beside its mesh.
std::vector<std::string> choice_row(const planner::Layout& layout) {
  const bool checkpoints =
      layout.activation_checkpointing != planner::ActivationCheckpointing::kNone;
  std::vector<std::string> options;
  if (layout.virtual_stages > 1)
    options.push_back(fmt::format("{} virtual stages", layout.virtual_stages));
  if (layout.mesh.expert_parallel > 1)
    options.push_back(fmt::format("ep {}", layout.mesh.expert_parallel));
  if (layout.async_tp) options.emplace_back("async tp");
  if (layout.optimizer_offload) options.emplace_back("optimizer on host");
  return {to_string(layout.sharding),
          to_string(layout.gradient_accumulation),
          layout.sequence_parallel ? "on" : "off",
          !checkpoints ? "none"
          : layout.checkpointed_blocks
              ? fmt::format("{} {}", to_string(layout.activation_checkpointing),
                            *layout.checkpointed_blocks)
              : to_string(layout.activation_checkpointing),
          std::to_string(layout.blocks_kept_gathered),
          fmt::format("{}", fmt::join(options, ", "))};
}

/// What a million tokens cost, of the figures that the cluster has.
std::vector<std::string> cost_titles(const planner::ClusterSpec& cluster) {
  std::vector<std::string> titles;
  if (cluster.price.value > 0) titles.emplace_back("price/Mtoken");
  if (cluster.device.power.value > 0) titles.emplace_back("kWh/Mtoken");
  return titles;
}

std::vector<std::string> cost_row(const planner::TokenCost& cost) {
  std::vector<std::string> row;
  if (cost.price) row.push_back(fmt::format("{:.3g}", *cost.price));
  if (cost.kilowatt_hours) row.push_back(fmt::format("{:.3g}", *cost.kilowatt_hours));
  return row;
}

void append(std::vector<std::string>& row, std::vector<std::string> more) {
  for (std::string& text : more) row.push_back(std::move(text));
}

/// The candidates with these places in the ranking, counted from 0.
std::string candidate_table(const Ranking& ranking, const std::vector<std::size_t>& places) {
  const bool gpu = ranking.cluster.device.kind == planner::DeviceKind::kGpu;
  const std::vector<Axis> axes = shown_axes(ranking);
  std::vector<std::vector<std::string>> rows = {{"#"}};
  for (Axis axis : axes) rows.front().push_back(to_string(axis));
  append(rows.front(),
         {"microbatch", "accumulation", "step", gpu ? "tokens/s/GPU" : "tokens/s/rank", "MFU",
          "memory", "of", "tp wire", "dp wire", "exposed"});
  append(rows.front(), cost_titles(ranking.cluster));
  if (ranking.tries_choices)
    append(rows.front(), {"sharding", "gradients", "sp", "checkpointed", "kept", "options"});
  for (std::size_t place : places) {
    const auto& [layout, estimate] = ranking.found.ranked[place];
    const std::int64_t dp_wire = wire_bytes(estimate, Axis::kDpShard) +
                                 wire_bytes(estimate, Axis::kDpReplicate) +
                                 wire_bytes(estimate, Axis::kExpertShard);
    std::vector<std::string> row = {std::to_string(place + 1)};
    for (Axis axis : axes) row.push_back(std::to_string(layout.mesh.sizes[axis]));
    append(row,
           {std::to_string(layout.microbatch_size), std::to_string(layout.accumulation),
            human(estimate.step_time), fmt::format("{:.0f}", estimate.tokens_per_second_per_gpu),
            percent(estimate.mfu), human(estimate.memory.peak_device),
            human(estimate.memory.capacity), human(common::Bytes(wire_bytes(estimate, Axis::kTp))),
            human(common::Bytes(dp_wire)), human(planner::exposed_time(estimate))});
    append(row, cost_row(estimate.cost));
    if (ranking.tries_choices) append(row, choice_row(layout));
    rows.push_back(std::move(row));
  }
  return common::format_table(rows);
}

std::string ranked_table(const Ranking& ranking, std::size_t top) {
  std::vector<std::size_t> places(std::min(top, ranking.found.ranked.size()));
  std::iota(places.begin(), places.end(), std::size_t{0});
  return candidate_table(ranking, places);
}

std::string first_order_table(const planner::FirstOrderVolumes& volumes) {
  return common::format_table(
      {{"first-order volume", "what it counts", "formula"},
       {human(volumes.tp_activations), "tp: activations of one forward pass of a microbatch",
        "layers x hidden x sequence x batch x 2 bytes x 2"},
       {human(volumes.fsdp_parameters), "fsdp: one gather of the whole model",
        "parameters x 2 bytes"}});
}

/// What of the job and the layout no column shows, where it is not the usual; "" or a line.
std::string options_line(const planner::Job& job, const planner::Layout& layout,
                         const planner::Estimate& estimate) {
  std::vector<std::string> options;
  if (layout.virtual_stages > 1)
    options.push_back(
        fmt::format("{} chunks of blocks a stage, interleaved", layout.virtual_stages));
  if (matmul_dtype(job) != job.param_dtype)
    options.push_back(fmt::format("blocks multiply in {}", common::to_string(matmul_dtype(job))));
  if (layout.async_tp) options.push_back("tp collectives in pieces beside their multiplies");
  if (moment_dtype(job) != job.master_dtype)
    options.push_back(fmt::format("moments in {}", common::to_string(moment_dtype(job))));
  if (layout.optimizer_offload)
    options.push_back(fmt::format("optimizer on the host, {} a rank", human(estimate.memory.host)));
  return options.empty() ? "" : fmt::format("{}\n", fmt::join(options, "; "));
}

std::string frontier_table(const Ranking& ranking) {
  return "\nnothing is faster with as little memory (# is the place in the ranking):\n\n" +
         candidate_table(ranking, planner::pareto_frontier(ranking.found.ranked));
}

std::string found_text(const Ranking& ranking, std::size_t top) {
  if (ranking.considered > 0) {
    return fmt::format(
        "{} layouts: {} fit and were priced, {} cannot be among the best {} by a bound of their "
        "time, {} rejected",
        ranking.considered, ranking.fitting, ranking.slower, top, rejected_count(ranking));
  }
  const std::size_t fit = ranking.found.ranked.size();
  return fmt::format("{} layouts fit{}, {} rejected", fit,
                     fit > top ? fmt::format(" (the best {} shown)", top) : "",
                     rejected_count(ranking));
}

}  // namespace

planner::Explanation explanation_of(const Ranking& ranking) {
  return planner::explain(ranking.model.spec, ranking.cluster, ranking.job, ranking.found,
                          ranking.request.objective);
}

std::int64_t rejected_count(const Ranking& ranking) {
  std::int64_t count = 0;
  for (const planner::Rejection& rejection : ranking.found.rejected) count += rejection.count;
  return count;
}

void print_ranking(const Ranking& ranking, const Shown& shown) {
  const std::size_t top = shown.top;
  const auto& [ranked, rejected] = ranking.found;
  const planner::ModelSpec& model = ranking.model.spec;
  fmt::print(
      "{}: {} parameters in {} blocks, on {}: {} node{} x {} {}; sequences of {} tokens in {}\n\n",
      model.name, common::human_count(static_cast<double>(planner::parameter_count(model))),
      model.num_hidden_layers, ranking.cluster.name, ranking.cluster.nodes,
      ranking.cluster.nodes == 1 ? "" : "s", ranking.cluster.devices_per_node,
      ranking.cluster.device.name, ranking.job.seq_length,
      common::to_string(ranking.job.param_dtype));
  if (!ranked.empty()) fmt::print("{}\n", ranked_table(ranking, top));
  fmt::print("{}{}\n{}", found_text(ranking, top), rejected.empty() ? "" : ":",
             planner::rejection_text(rejected, kReasonsShown));
  if (ranked.empty()) return;
  const auto& [layout, estimate] = ranked.front();
  fmt::print("\nthe best one, by {}:\n\n{}{}\n{}", to_string(ranking.request.objective),
             mesh_diagram(layout.mesh), options_line(ranking.job, layout, estimate),
             first_order_table(estimate.first_order));
  if (shown.pareto) fmt::print("{}", frontier_table(ranking));
  if (shown.explain) fmt::print("\n{}", explanation_text(explanation_of(ranking)));
}

std::string no_layout_message(const Ranking& ranking) {
  const auto& rejected = ranking.found.rejected;
  if (rejected.empty()) {
    return fmt::format(
        "no mesh of {} ranks has the sizes allowed by --tp, --dp-shard and --dp-replicate; allow "
        "others",
        planner::world_size(ranking.cluster));
  }
  return fmt::format(
      "no layout fits, all {} are rejected:\n{}use more or larger devices, a smaller "
      "--microbatch-size "
      "or --seq-length, or allow other axis sizes",
      rejected_count(ranking), planner::rejection_text(rejected, kReasonsShown));
}

}  // namespace meshplan::cli

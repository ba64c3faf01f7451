#include "planner/plan/plan.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <filesystem>
#include <memory>
#include <numeric>

#include "cli/command.h"
#include "cli/mesh_diagram.h"
#include "cli/search_flags.h"
#include "common/text.h"
#include "planner/explain/explanation.h"
#include "planner/explain/pareto.h"
#include "planner/explain/rejections.h"
#include "planner/model/parameter_table.h"
#include "planner/search/automatic_sizes.h"
#include "planner/search/best_layouts.h"

namespace meshplan::cli {
namespace {

using common::human;
using common::Json;
using planner::Axis;
using planner::Candidate;

constexpr std::size_t kReasonsShown = 5;

struct PlanFlags {
  SearchFlags search;
  std::size_t top = 10;
  std::string output;
  bool explain = false;
  bool pareto = false;
  bool json = false;
  /// Strategies, checkpointing and what else search.request leaves to its base are tried, too; pp
  /// and cp where they are not named.
  bool every_choice = false;
  bool names_pp = false;
  bool names_cp = false;
};

/// What was asked and what was found.
struct Ranking {
  LoadedModel model;
  planner::ClusterSpec cluster;
  planner::Job job;
  planner::SearchRequest request;
  planner::SearchResult found;
  /// Of every choice: the layouts looked at, and those that a bound showed to be slower than the
  /// best.
  std::int64_t considered = 0;
  std::int64_t slower = 0;
  std::int64_t fitting = 0;
};

/// A size that divides no mesh of the cluster would otherwise just never come up.
void require_divisors(const char* axis, const std::vector<std::int64_t>& sizes,
                      const planner::ClusterSpec& cluster) {
  const std::int64_t world = planner::world_size(cluster);
  for (std::int64_t size : sizes) {
    if (size >= 1 && world % size == 0) continue;
    throw common::Error(common::ErrorCode::kInvalidInput,
                        fmt::format("{}={}: must divide the cluster's {} nodes x {} devices = {}",
                                    axis, size, cluster.nodes, cluster.devices_per_node, world));
  }
}

planner::SearchSpace space_of(const PlanFlags& flags, const planner::SearchRequest& request) {
  planner::SearchSpace space;
  space.base = request.base;
  if (flags.names_pp) space.pp = request.pp;
  if (flags.names_cp) space.cp = request.cp;
  space.tp = request.tp;
  space.dp_shard = request.dp_shard;
  space.dp_replicate = request.dp_replicate;
  space.global_batch_size = request.global_batch_size;
  if (request.microbatch_size) space.microbatch_size = {*request.microbatch_size};
  if (request.sequence_parallel) space.sequence_parallel = {*request.sequence_parallel};
  if (request.loss_chunks) space.base.loss_chunks = *request.loss_chunks;
  return space;
}

void search_every_choice(const PlanFlags& flags, Ranking& ranking) {
  if (ranking.request.objective == planner::Objective::kMemory) {
    throw common::Error(
        common::ErrorCode::kUsage,
        "memory: --every-choice looks for the fastest layouts; use throughput, cost "
        "or energy, or leave out --every-choice",
        "--objective");
  }
  planner::BestLayouts best =
      planner::best_layouts(ranking.model.spec, ranking.cluster, ranking.job,
                            space_of(flags, ranking.request), flags.top);
  ranking.found = {std::move(best.best), std::move(best.rejected)};
  ranking.considered = best.considered;
  ranking.slower = best.slower;
  ranking.fitting = best.fitting;
}

Ranking rank_layouts(const PlanFlags& plan_flags) {
  const SearchFlags& flags = plan_flags.search;
  Inputs inputs = load_inputs(flags.model, flags.cluster);
  Ranking ranking{std::move(inputs.model), std::move(inputs.cluster), {}, {}, {}};
  ranking.job = make_job(flags.job, ranking.model.spec, ranking.cluster);
  ranking.request = with_automatic_sizes(make_request(flags), ranking.cluster);
  require_divisors("tp", ranking.request.tp, ranking.cluster);
  require_divisors("dp_shard", ranking.request.dp_shard, ranking.cluster);
  require_divisors("dp_replicate", ranking.request.dp_replicate, ranking.cluster);
  require_divisors("pp", ranking.request.pp, ranking.cluster);
  require_divisors("cp", ranking.request.cp, ranking.cluster);
  if (plan_flags.every_choice) {
    search_every_choice(plan_flags, ranking);
  } else {
    ranking.found =
        planner::search(ranking.model.spec, ranking.cluster, ranking.job, ranking.request);
  }
  return ranking;
}

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
  return {to_string(layout.sharding), to_string(layout.gradient_accumulation),
          layout.sequence_parallel ? "on" : "off",
          checkpoints ? fmt::format("{} {}", to_string(layout.activation_checkpointing),
                                    layout.checkpointed_blocks.value_or(0))
                      : "none",
          std::to_string(layout.blocks_kept_gathered)};
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
  if (ranking.considered > 0)
    append(rows.front(), {"sharding", "gradients", "sp", "checkpointed", "kept"});
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
    if (ranking.considered > 0) append(row, choice_row(layout));
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

planner::Explanation explanation_of(const Ranking& ranking) {
  return planner::explain(ranking.model.spec, ranking.cluster, ranking.job, ranking.found,
                          ranking.request.objective);
}

std::int64_t rejected_count(const Ranking& ranking) {
  std::int64_t count = 0;
  for (const planner::Rejection& rejection : ranking.found.rejected) count += rejection.count;
  return count;
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

void print_ranking(const Ranking& ranking, const PlanFlags& flags) {
  const std::size_t top = flags.top;
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
  if (flags.pareto) fmt::print("{}", frontier_table(ranking));
  if (flags.explain) fmt::print("\n{}", explanation_text(explanation_of(ranking)));
}

Json candidate_json(const Ranking& ranking, std::size_t place) {
  const Candidate& candidate = ranking.found.ranked[place];
  return {{"rank", place + 1},
          {"layout", to_json(candidate.layout)},
          {"estimate", to_json(candidate.estimate)}};
}

Json ranking_json(const Ranking& ranking, const PlanFlags& flags, const std::string& plan_file) {
  Json ranked = Json::array();
  for (std::size_t place = 0; place < std::min(flags.top, ranking.found.ranked.size()); ++place)
    ranked.push_back(candidate_json(ranking, place));
  Json rejected = Json::array();
  for (const planner::Rejection& rejection : ranking.found.rejected) {
    rejected.push_back({{"layout", to_json(rejection.layout)}, {"reason", rejection.reason}});
    if (ranking.considered > 0) rejected.back()["count"] = rejection.count;
  }
  Json json = {
      {"schema_version", 1},
      {"model", ranking.model.spec.name},
      {"model_source", ranking.model.source},
      {"parameters", planner::parameter_count(ranking.model.spec)},
      {"cluster", ranking.cluster.name},
      {"nodes", ranking.cluster.nodes},
      {"devices_per_node", ranking.cluster.devices_per_node},
      {"job", to_json(ranking.job)},
      {"objective", to_string(ranking.request.objective)},
      {"fit", ranking.considered > 0 ? ranking.fitting
                                     : static_cast<std::int64_t>(ranking.found.ranked.size())},
      {"ranked", ranked},
      {"rejected", rejected},
      {"plan", plan_file.empty() ? Json(nullptr) : Json(plan_file)}};
  if (ranking.considered > 0) {
    json["considered"] = ranking.considered;
    json["slower"] = ranking.slower;
  }
  if (flags.pareto) {
    json["pareto"] = Json::array();
    for (std::size_t place : planner::pareto_frontier(ranking.found.ranked))
      json["pareto"].push_back(candidate_json(ranking, place));
  }
  if (flags.explain)
    json["explanation"] =
        ranking.found.ranked.empty() ? Json(nullptr) : to_json(explanation_of(ranking));
  return json;
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

int run_plan(const PlanFlags& flags) {
  const Ranking ranking = rank_layouts(flags);
  const auto& ranked = ranking.found.ranked;
  const std::string plan_file = ranked.empty() ? "" : flags.output;
  if (!plan_file.empty()) {
    planner::save_plan({.model = ranking.model.spec,
                        .model_source = ranking.model.source,
                        .cluster = ranking.cluster,
                        .job = ranking.job,
                        .layout = ranked.front().layout,
                        .estimate = ranked.front().estimate},
                       plan_file);
  }
  if (flags.json) print_json(ranking_json(ranking, flags, plan_file));
  if (ranked.empty()) {
    fmt::print(stderr, "meshplan plan: {}\n", no_layout_message(ranking));
    return static_cast<int>(common::ErrorCode::kNoLayoutFits);
  }
  if (!flags.json) print_ranking(ranking, flags);
  if (plan_file.empty()) {
    if (!flags.json) fmt::print("\nwrite the best one to a file with -o plan.json\n");
  } else {
    fmt::print(stderr, "\nmeshplan plan: wrote {}\n",
               std::filesystem::absolute(plan_file).string());
  }
  return 0;
}

}  // namespace

Action define_plan(CLI::App& app) {
  app.description(
      "Price every layout of a job on a cluster and rank them\n\n"
      "Examples:\n"
      "  meshplan plan --model llama-3-8b --cluster h100-sxm --nodes 2 --seq-length 8192 -o "
      "plan.json\n"
      "  meshplan plan --model ./my-model --cluster h200-sxm --seq-length 4096 --global-batch-size "
      "512 --json\n"
      "  meshplan plan --model demo-qwen2 --cluster local-cpu --seq-length 128 --tp 1,2 "
      "--objective memory\n"
      "  meshplan plan --model llama-3-8b --cluster h100-sxm --nodes 4 --seq-length 8192 --tp auto "
      "--dp-shard auto --explain\n"
      "  meshplan plan --model llama-3-8b --cluster h100-sxm --nodes 4 --seq-length 8192 "
      "--objective cost --gpu-price 2.1 --pareto\n"
      "  meshplan plan --model llama-3.1-405b --cluster h100-sxm --nodes 2048 --seq-length 8192 "
      "--global-batch-size 2048 --every-choice");
  const auto flags = std::make_shared<PlanFlags>();
  add_search_flags(app, flags->search);
  app.add_option("--top", flags->top, "Layouts to show")
      ->capture_default_str()
      ->check(CLI::PositiveNumber)
      ->type_name("K")
      ->group("Search");
  app.add_flag(
         "--every-choice", flags->every_choice,
         "Try every strategy, sequence parallelism on and off, every way of checkpointing with "
         "the fewest blocks that fit, and all sizes of pp and cp that are not named; rank the "
         "fastest --top layouts")
      ->group("Search");
  app.add_flag("--explain", flags->explain,
               "Say what bounds the best layout, what the next ones lose, how TP and FSDP compare");
  app.add_flag("--pareto", flags->pareto,
               "Also show the layouts that no other beats in both time and memory");
  app.add_option("-o,--output", flags->output, "Write the best layout as a plan")
      ->type_name("FILE");
  add_json_flag(app, flags->json);
  return [flags, &app] {
    flags->names_pp = app.count("--pp") > 0;
    flags->names_cp = app.count("--cp") > 0;
    return run_plan(*flags);
  };
}

}  // namespace meshplan::cli

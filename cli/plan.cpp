#include "planner/plan/plan.h"

#include <fmt/format.h>

#include <filesystem>
#include <memory>

#include "cli/command.h"
#include "cli/progress_bar.h"
#include "cli/ranking.h"
#include "cli/search_flags.h"
#include "common/text.h"
#include "planner/plan/exporters/exportable_search.h"
#include "planner/search/automatic_sizes.h"
#include "planner/search/best_layouts.h"

namespace meshplan::cli {
namespace {

struct PlanFlags {
  SearchFlags search;
  Shown shown;
  std::string output;
  /// --for; null: meshplan itself.
  const planner::ExportTarget* target = nullptr;
  bool json = false;
  bool every_choice = false;
};

/// A size that divides no mesh of the cluster would otherwise just never come up.
void require_divisors(const char* axis, const std::vector<std::int64_t>& sizes,
                      const planner::ClusterSpec& cluster) {
  const std::int64_t world = planner::world_size(cluster);
  for (std::int64_t size : sizes) {
    if (size >= 1 && world % size == 0) continue;
    throw common::Error(
        common::ErrorCode::kInvalidInput,
        fmt::format("{}={}: must divide the cluster's {} {} x {} devices = {}; use {}", axis, size,
                    cluster.nodes, cluster.nodes == 1 ? "node" : "nodes", cluster.devices_per_node,
                    world, common::divisors(world)));
  }
}

void search_every_choice(const CLI::App& app, std::size_t top, Ranking& ranking) {
  if (ranking.request.objective == planner::Objective::kMemory) {
    throw common::Error(
        common::ErrorCode::kUsage,
        "memory: --every-choice looks for the fastest layouts; use throughput, cost "
        "or energy, or leave out --every-choice",
        "--objective");
  }
  ProgressBar bar("meshplan plan");
  planner::BestLayouts best = planner::best_layouts(
      ranking.model.spec, ranking.cluster, ranking.job, every_choice_of(app, ranking.request), top,
      {.progress = [&bar](double part) { bar.show(part); }});
  ranking.found = {std::move(best.best), std::move(best.rejected)};
  ranking.considered = best.considered;
  ranking.slower = best.slower;
  ranking.fitting = best.fitting;
}

/// Sets the flags that the target pins, as far as they are not given, as if they were.
void pin_for(CLI::App& app, const planner::ExportTarget& target, const planner::Job& job) {
  std::string pinned;
  for (const planner::SearchPin& pin : target.pins) {
    CLI::Option* option = app.get_option(pin.flag);
    if (option->count() > 0) continue;
    const std::string value = pin.value == nullptr ? to_string(job.param_dtype) : pin.value;
    option->add_result(value);
    option->run_callback();
    pinned += fmt::format(" {} {}", pin.flag, value);
  }
  if (!pinned.empty()) fmt::print(stderr, "meshplan plan: for {}:{}\n", target.name, pinned);
}

planner::SearchResult search_for(const CLI::App& app, const planner::ExportTarget& target,
                                 const Ranking& ranking) {
  return planner::search_exportable(
      target, ranking.model.spec, ranking.cluster, ranking.job, ranking.request,
      {.sharding = app.count("--sharding") > 0,
       .gradient_accumulation = app.count("--gradient-accumulation") > 0,
       .activation_checkpointing = app.count("--activation-checkpointing") > 0});
}

Ranking rank_layouts(CLI::App& app, PlanFlags& plan_flags) {
  SearchFlags& flags = plan_flags.search;
  Inputs inputs = load_inputs(flags.model, flags.cluster);
  if (plan_flags.target != nullptr)
    pin_for(app, *plan_flags.target, make_job(flags.job, inputs.model.spec, inputs.cluster));
  Ranking ranking{std::move(inputs.model), std::move(inputs.cluster), {}, {}, {}};
  ranking.job = make_job(flags.job, ranking.model.spec, ranking.cluster);
  ranking.request = with_automatic_sizes(make_request(flags), ranking.cluster);
  ranking.tries_choices = plan_flags.every_choice || plan_flags.target != nullptr;
  require_divisors("tp", ranking.request.tp, ranking.cluster);
  require_divisors("dp_shard", ranking.request.dp_shard, ranking.cluster);
  require_divisors("dp_replicate", ranking.request.dp_replicate, ranking.cluster);
  require_divisors("pp", ranking.request.pp, ranking.cluster);
  require_divisors("cp", ranking.request.cp, ranking.cluster);
  if (plan_flags.every_choice) {
    search_every_choice(app, plan_flags.shown.top, ranking);
  } else if (plan_flags.target != nullptr) {
    ranking.found = search_for(app, *plan_flags.target, ranking);
  } else {
    ranking.found =
        planner::search(ranking.model.spec, ranking.cluster, ranking.job, ranking.request);
  }
  return ranking;
}

int run_plan(CLI::App& app, PlanFlags& flags) {
  const Ranking ranking = rank_layouts(app, flags);
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
  if (flags.json) print_json(ranking_json(ranking, flags.shown, plan_file));
  if (ranked.empty()) {
    fmt::print(stderr, "meshplan plan: {}\n", no_layout_message(ranking));
    return static_cast<int>(common::ErrorCode::kNoLayoutFits);
  }
  if (!flags.json) print_ranking(ranking, flags.shown);
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
      "--global-batch-size 2048 --every-choice\n"
      "  meshplan plan --model llama-3.1-8b --cluster h100-sxm --nodes 4 --seq-length 8192 --for "
      "torchtitan -o plan.json");
  const auto flags = std::make_shared<PlanFlags>();
  add_search_flags(app, flags->search);
  app.add_option("--top", flags->shown.top, "Layouts to show")
      ->capture_default_str()
      ->check(CLI::PositiveNumber)
      ->type_name("K")
      ->group("Search");
  CLI::Option* target = add_choice(
      app, "--for", flags->target,
      [](const std::string& name, const std::string& flag) {
        return &planner::find_export_target(name, flag);
      },
      "Only layouts that meshplan export can write for this trainer, and all strategies that it "
      "has; meshplan export --list names the trainers");
  target->type_name("TARGET")->group("Search");
  app.add_flag(
         "--every-choice", flags->every_choice,
         "Try every strategy, way to accumulate, sequence parallelism, asynchronous tp, size of "
         "ep, "
         "an optimizer on the host, and checkpointing with the fewest blocks that fit, and all "
         "sizes of pp and cp, as far as their flags are not given; rank the fastest --top layouts")
      ->excludes(target)
      ->group("Search");
  app.add_flag("--explain", flags->shown.explain,
               "Say what bounds the best layout, what the next ones lose, how TP and FSDP compare");
  app.add_flag("--pareto", flags->shown.pareto,
               "Also show the layouts that no other beats in both time and memory");
  app.add_option("-o,--output", flags->output, "Write the best layout as a plan")
      ->type_name("FILE");
  add_json_flag(app, flags->json);
  return [flags, &app] { return run_plan(app, *flags); };
}

}  // namespace meshplan::cli

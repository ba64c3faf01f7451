#include "simulator/simulate.h"

#include <fmt/format.h>

#include <chrono>
#include <filesystem>
#include <memory>
#include <optional>

#include "cli/command.h"
#include "cli/options.h"
#include "cli/progress_bar.h"
#include "cli/scenario_flags.h"
#include "common/number_list.h"
#include "common/text.h"
#include "simulator/trace.h"

namespace meshplan::cli {
namespace {

using common::human;
using planner::Axis;
using simulator::SimulatedStep;

struct SimulateFlags {
  std::string plan;
  simulator::SimulationRequest request;
  std::optional<std::int64_t> prefetch_depth;
  std::string trace;
  std::string trace_ranks;
  bool json = false;
};

/// Ranks of a trace where none are named: the first one of each pipeline stage.
constexpr std::size_t kMostTraced = 8;

common::Seconds seconds(simulator::Picoseconds time) {
  return common::Seconds(simulator::seconds(time));
}

std::vector<std::int64_t> traced_ranks(const SimulateFlags& flags, const planner::Plan& plan) {
  if (!flags.trace_ranks.empty())
    return common::parse_number_list(flags.trace_ranks, "--trace-ranks");
  const std::int64_t stages = plan.layout.mesh.sizes[Axis::kPp];
  const std::int64_t ranks = planner::world_size(plan.layout.mesh) / stages;
  std::vector<std::int64_t> traced;
  for (std::int64_t stage = 0; stage < stages && traced.size() < kMostTraced; ++stage)
    traced.push_back(stage * ranks);
  return traced;
}

std::string step_table(const planner::Plan& plan, const SimulatedStep& step) {
  const planner::Estimate& estimate = plan.estimate;
  std::vector<std::vector<std::string>> rows = {
      {"one step", "simulated", "the plan's estimate"},
      {"step time", human(seconds(step.step_time)), human(estimate.step_time)},
      {"compute", human(seconds(step.compute_time)), human(estimate.compute_time)}};
  for (Axis axis : planner::kShownAxes) {
    const auto index = static_cast<std::size_t>(axis);
    if (estimate.traffic[index].operations == 0) continue;
    rows.push_back({fmt::format("exposed {}", to_string(axis)), human(seconds(step.exposed[index])),
                    human(estimate.traffic[index].exposed)});
  }
  rows.push_back(
      {"peak of allocated memory", human(step.peak_memory), human(estimate.memory.peak_allocated)});
  return common::format_table(rows);
}

/// What the table does not say.
std::string remarks(const SimulatedStep& step, common::Seconds wall) {
  std::string text = fmt::format(
      "the peak is in {}, {} into the step\n{} {}, {} events, played in {}\n",
      step.peak_instruction, human(seconds(step.peak_time)), step.ranks,
      step.every_rank ? "ranks, every one of them" : "of the ranks, for all that are alike",
      step.events, human(wall));
  if (step.every_rank) {
    text += fmt::format("rank {} computes longest, {}; rank {} shortest, {}\n", step.slowest.rank,
                        human(seconds(step.slowest.compute)), step.fastest.rank,
                        human(seconds(step.fastest.compute)));
  }
  if (step.times.size() > 1) {
    text += fmt::format("times are those of stage {}, which computes longest; memory that of {}\n",
                        step.computing_stage, step.stage);
  }
  if (step.shared_links > 0) {
    text += fmt::format("collectives of a rank take {} longer in all because they share links\n",
                        human(seconds(step.shared_links)));
  }
  if (step.bubble > 0)
    text += fmt::format("pipeline stages wait for one another {:.1f} % of the step\n",
                        100 * step.bubble);
  if (!step.critical_path) return text + "the step is too long to tell its critical path\n";
  text += "on the critical path:\n";
  for (const std::string& sentence : simulator::in_words(*step.critical_path))
    text += "  " + sentence + "\n";
  return text;
}

/// The time of the same step, where collectives that run at once share links.
simulator::Picoseconds time_with_shared_links(const planner::Plan& plan,
                                              const simulator::SimulationRequest& request,
                                              const SimulatedStep& step) {
  if (request.scenario.shared_links) return step.step_time;
  simulator::SimulationRequest shared;
  shared.every_rank = request.every_rank;
  shared.scenario = request.scenario;
  shared.scenario.shared_links = true;
  return simulator::simulate(plan, shared).step_time;
}

std::string shared_links_remark(simulator::Picoseconds shared, const SimulatedStep& step) {
  if (shared <= step.step_time) return "";
  return fmt::format(
      "where collectives that run at once share links, as --shared-links plays it, it takes {}\n",
      human(seconds(shared)));
}

/// The plan with so many units gathered ahead, estimated anew.
planner::Plan with_prefetch_depth(planner::Plan plan, std::int64_t depth) {
  plan.layout.prefetch_depth = depth;
  plan.estimate = planner::estimate(plan.model, plan.cluster, plan.job, plan.layout);
  if (!plan.estimate.violations.empty()) {
    throw common::Error(common::ErrorCode::kInvalidInput, to_string(plan.estimate.violations));
  }
  return plan;
}

/// What gathering further ahead takes.
std::string prefetch_remark(const planner::Plan& plan) {
  const planner::MemoryEstimate& memory = plan.estimate.memory;
  return fmt::format("{} units gathered ahead: {} of the device's {}{}\n",
                     plan.layout.prefetch_depth, human(memory.peak_device), human(memory.capacity),
                     plan.estimate.fits ? "" : ", which is too much");
}

int run_simulate(const SimulateFlags& flags) {
  planner::Plan plan = planner::load_plan(flags.plan);
  if (flags.prefetch_depth) plan = with_prefetch_depth(std::move(plan), *flags.prefetch_depth);
  simulator::SimulationRequest request = flags.request;
  if (!flags.trace.empty()) request.timelines = traced_ranks(flags, plan);
  const auto start = std::chrono::steady_clock::now();
  SimulatedStep step;
  {
    ProgressBar bar("meshplan simulate");
    request.progress = [&bar](double part) { bar.show(part); };
    step = simulator::simulate(plan, request);
  }
  const common::Seconds wall(
      std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count());
  const simulator::Picoseconds shared = time_with_shared_links(plan, request, step);
  if (!flags.trace.empty())
    formats::write_chrome_trace(flags.trace, simulator::to_trace(step, plan.model));
  if (flags.json) {
    common::Json json = to_json(step);
    json["shared_links_step_time_s"] = simulator::seconds(shared);
    json["wall_s"] = wall.value;
    print_json(json);
  } else {
    fmt::print("{}{}{}{}", step_table(plan, step), shared_links_remark(shared, step),
               flags.prefetch_depth ? prefetch_remark(plan) : "", remarks(step, wall));
  }
  if (!flags.trace.empty()) {
    fmt::print(stderr, "meshplan simulate: wrote {}, which https://ui.perfetto.dev opens\n",
               std::filesystem::absolute(flags.trace).string());
  }
  return 0;
}

}  // namespace

Action define_simulate(CLI::App& app) {
  app.description(
      "Play one training step of a plan, event by event\n\n"
      "Examples:\n"
      "  meshplan simulate plan.json\n"
      "  meshplan simulate plan.json --slow-rank 3:1.1 --trace trace.json.gz --trace-ranks 0,3\n"
      "  meshplan simulate plan.json --speed-spread 0.03 --seed 7 --json\n"
      "  meshplan simulate plan.json --infinite-bandwidth");
  const auto flags = std::make_shared<SimulateFlags>();
  app.add_option("plan", flags->plan, "The plan.json that meshplan plan writes")->required();
  app.add_flag(
      "--every-rank", flags->request.every_rank,
      "Play every rank, not one for all that are alike; whatever makes ranks differ does so "
      "by itself");
  add_scenario_flags(app, flags->request.scenario);
  app.add_option(
         "--prefetch-depth", flags->prefetch_depth,
         "Units that are gathered ahead, 0 to 3, in place of the plan's: what would that buy?")
      ->type_name("N");
  CLI::Option* trace =
      app.add_option("--trace", flags->trace,
                     "Write a Chrome trace of streams and memory, compressed where the name ends "
                     "in .gz")
          ->type_name("FILE");
  app.add_option(
         "--trace-ranks", flags->trace_ranks,
         "Ranks of the trace: 0,8-11 (default: the first of each pipeline stage, 8 at most)")
      ->type_name("RANKS")
      ->needs(trace);
  add_json_flag(app, flags->json);
  return [flags] { return run_simulate(*flags); };
}

}  // namespace meshplan::cli

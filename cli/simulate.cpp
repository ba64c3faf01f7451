#include "simulator/simulate.h"

#include <fmt/format.h>

#include <filesystem>
#include <memory>

#include "cli/command.h"
#include "cli/options.h"
#include "common/text.h"
#include "simulator/trace.h"

namespace meshplan::cli {
namespace {

using common::human;
using planner::Axis;

struct SimulateFlags {
  std::string plan;
  std::string trace;
  bool json = false;
};

common::Seconds seconds(simulator::Picoseconds time) {
  return common::Seconds(static_cast<double>(time) * 1e-12);
}

std::string step_table(const planner::Plan& plan, const simulator::SimulatedStep& step) {
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

int run_simulate(const SimulateFlags& flags) {
  const planner::Plan plan = planner::load_plan(flags.plan);
  const simulator::SimulatedStep step = simulator::simulate(plan);
  if (!flags.trace.empty())
    formats::write_chrome_trace(flags.trace, simulator::to_trace(step, plan.model, 0));
  if (flags.json) {
    print_json(simulator::to_json(step));
  } else {
    fmt::print("{}the peak is in {}; {} instructions, {} events\n", step_table(plan, step),
               step.peak_instruction, step.instructions.size(), step.events);
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
      "  meshplan simulate plan.json --trace trace.json --json");
  const auto flags = std::make_shared<SimulateFlags>();
  app.add_option("plan", flags->plan, "The plan.json that meshplan plan writes")->required();
  app.add_option("--trace", flags->trace, "Write a Chrome trace of rank 0's streams and memory")
      ->type_name("FILE");
  add_json_flag(app, flags->json);
  return [flags] { return run_simulate(*flags); };
}

}  // namespace meshplan::cli

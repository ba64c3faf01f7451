#include <fmt/format.h>

#include <filesystem>
#include <memory>
#include <optional>

#include "cli/command.h"
#include "cli/comparison.h"
#include "cli/options.h"
#include "cli/trace_comparison.h"
#include "common/number_list.h"
#include "common/text.h"

namespace meshplan::cli {
namespace {

using common::Bytes;
using common::human;
using planner::Axis;

struct CompareFlags {
  std::string plan;
  std::string run;
  std::string trace;
  std::string trace_ranks = "0";
  bool json = false;
};

std::string difference_text(double predicted, double measured) {
  const auto difference = relative_difference(predicted, measured);
  return difference ? fmt::format("{:+.1f} %", 100 * *difference) : "-";
}

std::string difference_text(Bytes predicted, Bytes measured) {
  return difference_text(static_cast<double>(predicted.value), static_cast<double>(measured.value));
}

std::string comparison_table(const Comparison& comparison) {
  std::vector<std::vector<std::string>> rows = {
      {"a step of one rank", "predicted", "measured", "difference"}};
  for (Axis axis : {Axis::kTp, Axis::kDpShard, Axis::kDpReplicate, Axis::kCp, Axis::kPp}) {
    const AxisComparison& entry = comparison.axes[static_cast<std::size_t>(axis)];
    if (entry.predicted_operations == 0 && entry.measured_operations == 0) continue;
    rows.push_back({fmt::format("{} bytes", to_string(axis)), std::to_string(entry.predicted.value),
                    std::to_string(entry.measured.value),
                    difference_text(entry.predicted, entry.measured)});
    rows.push_back({fmt::format("{} operations", to_string(axis)),
                    std::to_string(entry.predicted_operations),
                    std::to_string(entry.measured_operations),
                    difference_text(static_cast<double>(entry.predicted_operations),
                                    static_cast<double>(entry.measured_operations))});
  }
  rows.push_back({"peak of allocated memory", human(comparison.predicted_memory),
                  human(comparison.measured_memory),
                  difference_text(comparison.predicted_memory, comparison.measured_memory)});
  rows.push_back(
      {"the communication library's own memory", "-", human(comparison.communication_memory), "-"});
  rows.push_back(
      {"step time (median)", human(comparison.predicted_step_time),
       human(comparison.measured_step_time),
       difference_text(comparison.predicted_step_time.value, comparison.measured_step_time.value)});
  return common::format_table(rows);
}

std::string collective_text(const std::optional<formats::RecordedCollective>& collective) {
  if (!collective) return "none";
  return fmt::format("{} over {} of {} bytes", collective->kind, collective->axis,
                     collective->bytes.value);
}

std::string collectives_text(const Comparison& comparison) {
  if (!comparison.difference) {
    return fmt::format(
        "collectives: all {} of the program on each of {} ranks, in kind, axis, bytes and order",
        comparison.collectives, comparison.ranks);
  }
  const CollectiveDifference& difference = *comparison.difference;
  return fmt::format(
      "collectives: NOT those of the program; rank {}, number {} of {}: planned {}, recorded {}",
      difference.rank, difference.index + 1, comparison.collectives,
      collective_text(difference.planned), collective_text(difference.recorded));
}

int run_compare(const CompareFlags& flags) {
  const planner::Plan plan = planner::load_plan(flags.plan);
  const Comparison comparison = compare(plan, flags.run);
  std::optional<TraceComparison> traces;
  if (!flags.trace.empty()) {
    traces = compare_traces(plan, flags.run,
                            common::parse_number_list(flags.trace_ranks, "--trace-ranks"));
    formats::write_chrome_trace(flags.trace, traces->trace);
  }
  if (flags.json) {
    common::Json json = to_json(comparison);
    if (traces) json["instructions"] = instructions_json(*traces);
    print_json(json);
  } else {
    fmt::print("{}{}\nloss: {:.4f} to {:.4f} in {} steps\n", comparison_table(comparison),
               collectives_text(comparison), comparison.first_loss, comparison.last_loss,
               comparison.steps);
    if (traces) fmt::print("\n{}", instruction_table(*traces));
  }
  if (traces) {
    fmt::print(stderr, "meshplan compare: wrote {}, which https://ui.perfetto.dev opens\n",
               std::filesystem::absolute(flags.trace).string());
  }
  return 0;
}

}  // namespace

Action define_compare(CLI::App& app) {
  app.description(
      "Compare what a plan predicts with what its training run measured\n\n"
      "Examples:\n"
      "  meshplan compare plan.json runs/my-run\n"
      "  meshplan compare runs/my-run/plan.json runs/my-run --json\n"
      "  meshplan compare plan.json runs/my-run --trace both.json.gz --trace-ranks 0-3");
  const auto flags = std::make_shared<CompareFlags>();
  app.add_option("plan", flags->plan, "The plan.json")->required();
  app.add_option("run", flags->run, "The run's folder: STORAGE_PATH/EXPERIMENT_NAME")->required();
  CLI::Option* trace =
      app.add_option("--trace", flags->trace,
                     "Write a Chrome trace of the predicted step over the measured one, compressed "
                     "where the name ends in .gz, and compare their instructions")
          ->type_name("FILE");
  app.add_option("--trace-ranks", flags->trace_ranks,
                 "Ranks of the trace: 0,2-3; the first one's instructions are compared")
      ->capture_default_str()
      ->type_name("RANKS")
      ->needs(trace);
  add_json_flag(app, flags->json);
  return [flags] { return run_compare(*flags); };
}

}  // namespace meshplan::cli

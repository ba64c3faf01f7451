#include <fmt/format.h>

#include <memory>

#include "cli/collectives_table.h"
#include "cli/command.h"
#include "cli/options.h"
#include "common/text.h"
#include "planner/validate/validation.h"

namespace meshplan::cli {
namespace {

using planner::ErrorStatistics;
using planner::ValidationSummary;
using Table = std::vector<std::vector<std::string>>;

struct ValidateFlags {
  std::string file;
  bool sweep = false;
  bool json = false;
};

std::string share(std::size_t part, std::size_t all) {
  if (all == 0) return "-";
  return fmt::format("{} of {} ({:.2f} %)", part, all,
                     100 * static_cast<double>(part) / static_cast<double>(all));
}

std::vector<std::string> statistics_row(const std::string& name, const std::string& quantity,
                                        const ErrorStatistics& s) {
  std::vector<std::string> row = {name, quantity, std::to_string(s.rows),
                                  std::to_string(s.doubtful), std::to_string(s.skipped)};
  for (double value : {s.median, s.mean, s.third_quartile, s.worst}) {
    row.push_back(s.rows == 0 ? "-" : fmt::format("{:.1f}", 100 * value));
  }
  row.push_back(s.rows == 0 ? "-" : fmt::format("{:+.1f}", 100 * s.bias));
  return row;
}

std::string error_table(const std::string& kind,
                        const std::map<std::string, planner::QuantityStatistics>& groups) {
  Table table = {{kind, "quantity", "rows", "in doubt", "not priced", "median %", "mean %", "p75 %",
                  "worst %", "bias %"}};
  for (const auto& [name, quantities] : groups) {
    for (const auto& [quantity, statistics] : quantities) {
      table.push_back(statistics_row(name, quantity, statistics));
    }
  }
  return common::format_table(table);
}

std::string fit_table(const ValidationSummary& summary) {
  Table table = {{"runtime", "ran, predicted not to fit", "failed, predicted not to fit",
                  "failed with under 16 stages, predicted not to fit"}};
  for (const auto& [runtime, counts] : summary.fits) {
    if (counts.ran + counts.failed == 0) continue;
    table.push_back({runtime, share(counts.ran_over, counts.ran),
                     share(counts.failed_over, counts.failed),
                     share(counts.failed_short_pipeline_over, counts.failed_short_pipeline)});
  }
  return common::format_table(table);
}

std::string skipped_table(const ValidationSummary& summary) {
  Table table = {{"not priced because", "rows"}};
  for (const auto& [reason, count] : summary.skipped) {
    table.push_back({reason, std::to_string(count)});
  }
  return common::format_table(table);
}

std::string choice_tables(const ValidationSummary& summary) {
  Table groups = {
      {"model", "GPUs", "global batch", "layouts", "regret %", "top three %", "rank correlation"}};
  for (const planner::LayoutChoice& choice : summary.choices) {
    groups.push_back(
        {choice.model, std::to_string(choice.gpus), std::to_string(choice.global_batch),
         std::to_string(choice.layouts), fmt::format("{:.1f}", 100 * choice.regret),
         fmt::format("{:.1f}", 100 * choice.top_three), fmt::format("{:.2f}", choice.spearman)});
  }
  Table totals = {{"groups up to", "groups", "median regret %", "worst regret %",
                   "worst of top three %", "median rank correlation"}};
  for (const planner::ChoiceSummary& entry : summary.choice_summaries) {
    totals.push_back(
        {entry.gpus >= planner::kMaxPeerRanks ? "all GPUs" : fmt::format("{} GPUs", entry.gpus),
         std::to_string(entry.groups), fmt::format("{:.1f}", 100 * entry.median_regret),
         fmt::format("{:.1f}", 100 * entry.worst_regret),
         fmt::format("{:.1f}", 100 * entry.worst_top_three),
         fmt::format("{:.3f}", entry.median_spearman)});
  }
  return "choice of layout: what running the layout predicted fastest loses to the best "
         "measured\n" +
         common::format_table(groups) + "\n" + common::format_table(totals);
}

void print_summary(const ValidationSummary& summary, bool sweep) {
  fmt::print("{} rows; errors are predicted / measured - 1\n\n", summary.rows);
  fmt::print("{}\n", error_table("runtime", summary.runtimes));
  fmt::print("{}\n", error_table("source", summary.sources));
  if (summary.korthikanti)
    fmt::print("points of Korthikanti et al.: {} rows, mean {:.2f} %, worst {:.2f} %\n\n",
               summary.korthikanti->rows, 100 * summary.korthikanti->mean,
               100 * summary.korthikanti->worst);
  fmt::print("{}", fit_table(summary));
  if (!summary.skipped.empty()) fmt::print("\n{}", skipped_table(summary));
  if (sweep) fmt::print("\n{}", choice_tables(summary));
}

int validate_collectives(const formats::CsvTable& table, bool json) {
  const auto rows = planner::validate_collectives(table);
  const planner::CollectiveSummary summary = summarize(rows);
  if (json)
    print_json(to_json(rows, summary));
  else
    fmt::print("{}", collectives_tables(summary));
  return 0;
}

int run_validate(const ValidateFlags& flags) {
  const auto table = formats::CsvTable::read(flags.file);
  if (planner::is_collectives_table(table)) return validate_collectives(table, flags.json);
  const auto runs = planner::validate(planner::read_measured_runs(table));
  const ValidationSummary summary = planner::summarize(runs);
  if (flags.json)
    print_json(to_json(runs, summary));
  else
    print_summary(summary, flags.sweep);
  return 0;
}

}  // namespace

Action define_validate(CLI::App& app) {
  app.description(
      "Compare the cost model with measured training runs, or collectives, of a CSV file\n\n"
      "Each row is a run: model, cluster, layout, and what was measured; docs/cost_model.md lists "
      "the\n"
      "columns. Figures in doubt are left out and counted, and so are rows that cannot be "
      "priced.\n\n"
      "Examples:\n"
      "  meshplan validate catalog/measurements/training_runs.csv\n"
      "  meshplan validate catalog/measurements/layout_sweep_h100.csv --sweep\n"
      "  meshplan validate catalog/measurements/collectives.csv");
  const auto flags = std::make_shared<ValidateFlags>();
  app.add_option("file", flags->file, "CSV file of measured runs")->required();
  app.add_flag("--sweep", flags->sweep,
               "Also judge the choice among layouts of the same model, GPUs and batch");
  add_json_flag(app, flags->json);
  return [flags] { return run_validate(*flags); };
}

}  // namespace meshplan::cli

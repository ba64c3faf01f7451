/// Fits the constants of docs/cost_model.md to the published runs, and prints how far off rows are
/// that were left out of a fit: of a model, a GPU, a source, or a scale.

#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <cstdio>
#include <fstream>
#include <functional>
#include <map>
#include <set>

#include "benchmarks/fit_runtimes/fit.h"
#include "common/error.h"
#include "formats/csv.h"
#include "planner/validate/row_reader.h"
#include "planner/validate/validation.h"

namespace meshplan::benchmarks {
namespace {

using planner::MeasuredRun;

std::string prefix_of(const MeasuredRun& run) { return run.id.substr(0, run.id.find('-')); }

/// Rows of a runtime together: a large source does not drown the rest.
const std::map<std::string, double> kTimeWeights = {{"composer_fsdp1", 70}, {"megatron", 14},
                                                    {"torch_eager", 12},    {"torch_compile", 26},
                                                    {"torch_aot_eager", 8}, {"sweep", 60}};

/// What a run counts for before all of its group are brought to the group's weight.
double own_weight(const MeasuredRun& run, Quantity quantity) {
  const planner::DeviceMesh& mesh = run.run->mesh;
  if (run.runtime != "nanotron") return 1;
  if (quantity == Quantity::kTime) return planner::world_size(mesh) <= 256 ? 1 : 0.1;
  const std::int64_t tp = mesh.sizes[planner::Axis::kTp];
  return tp <= 4 ? 1 : tp <= 8 ? 0.3 : 0.1;
}

double group_weight(const std::string& group, Quantity quantity, double rows) {
  if (quantity == Quantity::kTime) {
    const auto found = kTimeWeights.find(group);
    return found == kTimeWeights.end() ? 0 : found->second;
  }
  if (group.starts_with("sweep")) return 100;
  if (group.starts_with("torch")) return 20 * std::min(1.0, rows / 6);
  return group.starts_with("nanotron") ? 0 : rows;
}

/// Nanotron's rows of training_runs.csv come from the sweep, which has them all.
std::string group_of(const MeasuredRun& run, Quantity quantity) {
  const std::string name = prefix_of(run) == "sweep" ? "sweep" : run.runtime;
  if (quantity == Quantity::kTime) return name;
  return name + (run.memory_kind == planner::MemoryKind::kReserved ? " reserved" : "");
}

bool counts(const MeasuredRun& run, Quantity quantity) {
  if (!run.run || run.status != "ok") return false;
  if (quantity == Quantity::kTime) return run.throughput_doubt.empty();
  return run.memory_doubt.empty() && (run.peak_memory_gib || run.runtime == "composer_fsdp1");
}

void weigh(std::vector<WeighedRun>& runs, Quantity quantity) {
  std::map<std::string, std::pair<double, double>> groups;
  for (const WeighedRun& run : runs) {
    if (!counts(run.measured, quantity)) continue;
    auto& [weight, rows] = groups[group_of(run.measured, quantity)];
    weight += own_weight(run.measured, quantity);
    ++rows;
  }
  for (WeighedRun& run : runs) {
    if (!counts(run.measured, quantity)) continue;
    const std::string group = group_of(run.measured, quantity);
    const auto& [weight, rows] = groups.at(group);
    (quantity == Quantity::kTime ? run.time_weight : run.memory_weight) =
        own_weight(run.measured, quantity) * group_weight(group, quantity, rows) / weight;
  }
}

std::vector<WeighedRun> read_runs(const std::string& folder) {
  std::vector<WeighedRun> runs;
  for (const char* file : {"/training_runs.csv", "/layout_sweep_h100.csv"}) {
    for (MeasuredRun& run : planner::read_measured_runs(formats::CsvTable::read(folder + file))) {
      if (run.run && run.status == "ok") runs.push_back({.measured = std::move(run)});
    }
  }
  weigh(runs, Quantity::kTime);
  weigh(runs, Quantity::kMemory);
  return runs;
}

/// Those over several nodes of eight H100 with EFA, which is what the sweep ran on.
std::vector<MeasuredCollective> read_collectives(const std::string& folder) {
  using planner::CollectiveKind;
  const std::map<std::string, CollectiveKind> kinds = {
      {"all_gather", CollectiveKind::kAllGather},
      {"reduce_scatter", CollectiveKind::kReduceScatter},
      {"all_reduce", CollectiveKind::kAllReduce}};
  const formats::CsvTable table = formats::CsvTable::read(folder + "/collectives.csv");
  std::vector<MeasuredCollective> found;
  for (std::size_t i = 0; i < table.rows(); ++i) {
    const planner::RowReader row(table, i);
    const auto kind = kinds.find(row.text("collective"));
    const std::int64_t ranks = row.required_integer("nranks", 1, 1 << 20);
    if (!row.text("gpu").starts_with("H100-80GB") || kind == kinds.end() || ranks <= 8) continue;
    const double bytes = row.number("message_bytes", 1e15).value_or(0);
    const double n = static_cast<double>(ranks);
    const double wire = bytes * (kind->second == CollectiveKind::kAllReduce ? 2 : 1) * (n - 1) / n;
    found.push_back({.hardware = {.gpu = planner::find_gpu("h100-sxm"),
                                  .network = *planner::parse_network("efa-3200", 8)},
                     .kind = kind->second,
                     .bytes = common::Bytes(static_cast<std::int64_t>(bytes)),
                     .group = {.ranks = ranks, .stride = 1, .ranks_per_node = 8},
                     .time = common::Seconds(wire / 1e9 / row.number("busbw_GBps", 1e6).value())});
  }
  return found;
}

/// Rows that a fit does not see.
struct Fold {
  std::string name;
  std::function<bool(const MeasuredRun&)> holds;
};

/// Of the sweep "1.34 B", elsewhere "nanotron-llama-1.34B".
bool has_model(const MeasuredRun& run, const std::string& model) {
  const std::size_t space = run.model.find(' ');
  return run.model == model || (prefix_of(run) == "sweep" &&
                                model == "nanotron-llama-" + run.model.substr(0, space) + "B");
}

std::vector<Fold> folds_of(const std::vector<WeighedRun>& runs) {
  std::set<std::string> models;
  std::set<std::string> gpus;
  std::set<std::string> sources;
  for (const WeighedRun& run : runs) {
    const MeasuredRun& row = run.measured;
    if (prefix_of(row) == "sweep") continue;
    models.insert(row.model);
    gpus.insert(row.gpu);
    if (row.runtime.starts_with("torch")) sources.insert(prefix_of(row));
  }
  std::vector<Fold> folds;
  for (const std::string& model : models)
    folds.push_back({"model " + model, [=](const auto& run) { return has_model(run, model); }});
  for (const std::string& gpu : gpus)
    folds.push_back({"GPU " + gpu,
                     [=](const auto& run) { return run.gpu == gpu && run.runtime != "nanotron"; }});
  for (const std::string& source : sources)
    folds.push_back(
        {"source " + source, [=](const auto& run) { return prefix_of(run) == source; }});
  for (const std::int64_t size : {32, 64})
    folds.push_back({fmt::format("over {} GPUs", size),
                     [=](const auto& run) { return planner::world_size(run.run->mesh) > size; }});
  folds.push_back({"tp over 1, but nanotron", [](const auto& run) {
                     return run.run->mesh.sizes[planner::Axis::kTp] > 1 &&
                            run.runtime != "nanotron";
                   }});
  return folds;
}

/// The bars that the project set itself, where there is one for rows of this kind.
double bar_of(const std::string& runtime, const std::string& quantity) {
  static const std::map<std::string, double> kThroughput = {{"composer_fsdp1", 0.03},
                                                            {"megatron", 0.05},
                                                            {"torch_eager", 0.05},
                                                            {"torch_compile", 0.06},
                                                            {"torch_aot_eager", 0.06}};
  if (quantity == "throughput, up to 256 GPUs") return 0.06;
  if (quantity == "memory, tp up to 4") return 0.05;
  if (quantity == "memory allocated") return 0.04;
  if (quantity == "memory reserved") return 0.05;
  const auto found = kThroughput.find(runtime);
  return quantity == "throughput" && found != kThroughput.end() ? found->second : 0;
}

/// Of the rows of the fold: those of the sweep, or all others.
std::vector<planner::ValidatedRun> predict(const FittedModel& model,
                                           const std::vector<WeighedRun>& runs, const Fold& fold,
                                           bool sweep) {
  std::vector<MeasuredRun> left_out;
  for (const WeighedRun& run : runs) {
    if (!fold.holds(run.measured) || (prefix_of(run.measured) == "sweep") != sweep) continue;
    left_out.push_back(run.measured);
    model.adopt(*left_out.back().run);
  }
  return planner::validate(std::move(left_out));
}

planner::ValidationSummary judge(const FittedModel& model, const std::vector<WeighedRun>& runs,
                                 const Fold& fold, bool sweep) {
  return planner::summarize(predict(model, runs, fold, sweep));
}

/// As `validate --json` prints them: all other rows, then those of the sweep.
void write_rows(const std::string& path, const FittedModel& model,
                const std::vector<WeighedRun>& runs) {
  const Fold all{"nothing", [](const auto&) { return true; }};
  std::vector<planner::ValidatedRun> rows = predict(model, runs, all, false);
  for (planner::ValidatedRun& row : predict(model, runs, all, true)) rows.push_back(std::move(row));
  std::ofstream(path) << planner::to_json(rows, planner::summarize(rows)).dump() << '\n';
}

void print_table(const Fold& fold, const planner::ValidationSummary& in_sample,
                 const planner::ValidationSummary& held_out, bool sweep) {
  for (const auto& [runtime, quantities] : held_out.runtimes) {
    for (const auto& [quantity, s] : quantities) {
      if (s.rows == 0) continue;
      const double bar = bar_of(runtime, quantity);
      const double limit = 1.5 * bar;
      fmt::print("{:<34} {:<16} {:<26} {:>4} {:>9.1f} {:>9.1f} {:>+6.1f} {:>6.1f} {:>8}{}\n",
                 fold.name, sweep ? "layout sweep" : runtime, quantity, s.rows,
                 100 * in_sample.runtimes.at(runtime).at(quantity).median, 100 * s.median,
                 100 * s.bias, 100 * s.worst,
                 bar > 0 ? fmt::format("{:.1f}", 100 * limit) : std::string("-"),
                 bar > 0 && s.median > limit ? " above" : "");
    }
  }
  for (const planner::ChoiceSummary& choices : held_out.choice_summaries) {
    if (sweep)
      fmt::print(
          "{:<34} layout choice, up to {} GPUs: median regret {:.1f} %, rank correlation "
          "{:.3f}\n",
          fold.name, choices.gpus, 100 * choices.median_regret, choices.median_spearman);
  }
  std::fflush(stdout);
}

void print_fold(const Fold& fold, const std::vector<WeighedRun>& runs, const FittedModel& whole,
                const FittedModel& without) {
  for (const bool sweep : {false, true})
    print_table(fold, judge(whole, runs, fold, sweep), judge(without, runs, fold, sweep), sweep);
}

void print_constants(const FittedModel& fitted, Quantity quantity) {
  const FittedModel compiled;
  const std::vector<Constant> before = compiled.constants(quantity);
  const std::vector<Constant> after = fitted.constants(quantity);
  for (std::size_t i = 0; i < after.size(); ++i)
    fmt::print("{:<44} {:>10.4g} was {:>10.4g}, prior {:>8.4g}, off it by {:+.1f} deviations\n",
               after[i].name, after[i].value(), before[i].value(), after[i].prior,
               std::log(after[i].value() / after[i].prior) / after[i].deviation);
}

struct Choices {
  std::string folder = "catalog/measurements";
  std::string fold;
  std::string rows;
  bool time = true;
  bool memory = true;
  bool crossed = true;
  int evaluations = 60;
};

void run(const Choices& choices) {
  const Measurements all_measured{read_runs(choices.folder), read_collectives(choices.folder)};
  const std::vector<WeighedRun>& runs = all_measured.runs;
  std::vector<Quantity> quantities;
  if (choices.time) quantities.push_back(Quantity::kTime);
  if (choices.memory) quantities.push_back(Quantity::kMemory);
  FittedModel whole;
  for (Quantity quantity : quantities) {
    fit(whole, quantity, all_measured, choices.evaluations);
    print_constants(whole, quantity);
  }
  fmt::print("\n{:<34} {:<16} {:<26} {:>4} {:>9} {:>9} {:>6} {:>6} {:>8}\n", "left out", "runtime",
             "quantity", "rows", "in sample", "held out", "bias", "worst", "1.5 bars");
  const Fold all{"nothing", [](const auto&) { return true; }};
  print_fold(all, runs, whole, whole);
  if (!choices.rows.empty()) write_rows(choices.rows, whole, runs);
  if (!choices.crossed) return;
  for (const Fold& fold : folds_of(runs)) {
    if (fold.name.find(choices.fold) == std::string::npos) continue;
    Measurements seen{{}, all_measured.collectives};
    for (const WeighedRun& run : runs) {
      if (!fold.holds(run.measured)) seen.runs.push_back(run);
    }
    FittedModel model;
    for (Quantity quantity : quantities) {
      model.reset(quantity);
      fit(model, quantity, seen, choices.evaluations);
    }
    print_fold(fold, runs, whole, model);
  }
}

}  // namespace
}  // namespace meshplan::benchmarks

int main(int argc, char** argv) {
  meshplan::benchmarks::Choices choices;
  CLI::App app("Fits the cost model of other trainers; prints errors of rows left out of a fit");
  app.add_option("folder", choices.folder, "Where training_runs.csv and layout_sweep_h100.csv lie");
  app.add_option("--fold", choices.fold, "Only folds whose name has this text");
  app.add_option("--rows", choices.rows, "Where to write the errors of all rows as JSON");
  app.add_option("--evaluations", choices.evaluations, "The most that one fit takes");
  app.add_flag("--time,!--no-time", choices.time, "Fit step times");
  app.add_flag("--memory,!--no-memory", choices.memory, "Fit peaks of memory");
  app.add_flag("--cross-validate,!--no-cross-validate", choices.crossed, "Leave rows out in turn");
  CLI11_PARSE(app, argc, argv);
  try {
    meshplan::benchmarks::run(choices);
  } catch (const meshplan::common::Error& error) {
    fmt::print(stderr, "error: {}\n", error.what());
    return static_cast<int>(error.code());
  }
}

#include <algorithm>
#include <cmath>
#include <tuple>

#include "planner/validate/statistics.h"
#include "planner/validate/validation.h"

namespace meshplan::planner {
namespace {

/// Signed errors of one quantity, as they are collected.
struct Errors {
  std::vector<double> values;
  std::size_t doubtful = 0;
  std::size_t skipped = 0;
};

using QuantityErrors = std::map<std::string, Errors>;

ErrorStatistics statistics_of(const Errors& errors) {
  ErrorStatistics result{
      .rows = errors.values.size(), .doubtful = errors.doubtful, .skipped = errors.skipped};
  if (errors.values.empty()) return result;
  std::vector<double> absolute;
  double sum = 0;
  for (double value : errors.values) {
    absolute.push_back(std::abs(value));
    sum += std::abs(value);
  }
  result.median = quantile(absolute, 0.5);
  result.mean = sum / static_cast<double>(absolute.size());
  result.third_quartile = quantile(absolute, 0.75);
  result.worst = *std::max_element(absolute.begin(), absolute.end());
  result.bias = quantile(errors.values, 0.5);
  return result;
}

std::map<std::string, QuantityStatistics> statistics_of(
    const std::map<std::string, QuantityErrors>& groups) {
  std::map<std::string, QuantityStatistics> result;
  for (const auto& [name, quantities] : groups) {
    for (const auto& [quantity, errors] : quantities) {
      result[name][quantity] = statistics_of(errors);
    }
  }
  return result;
}

const char* memory_quantity(const MeasuredRun& run) {
  switch (run.memory_kind) {
    case MemoryKind::kAllocated:
      return "memory allocated";
    case MemoryKind::kReserved:
      return "memory reserved";
    case MemoryKind::kUnstated:
      break;
  }
  return "memory";
}

void collect(Errors& errors, const ValidatedRun& run, const std::optional<double>& error,
             const std::string& doubt) {
  if (error)
    errors.values.push_back(*error);
  else if (!run.measured.run)
    ++errors.skipped;
  else if (!doubt.empty())
    ++errors.doubtful;
}

/// A row into its quantities; runs of one program on few and on many GPUs, or with tensor
/// parallelism within and across nodes, are told apart beside the whole.
void collect(QuantityErrors& errors, const ValidatedRun& run) {
  const MeasuredRun& row = run.measured;
  if (row.status != "ok") return;
  const bool has_time = row.tokens_per_second_per_gpu || row.step_time_s || row.tflops_per_gpu;
  if (has_time) collect(errors["throughput"], run, run.throughput_error, row.throughput_doubt);
  if (row.peak_memory_gib)
    collect(errors[memory_quantity(row)], run, run.memory_error, row.memory_doubt);
  if (row.runtime != "nanotron" || !row.run) return;
  if (has_time && world_size(row.run->mesh) <= 256)
    collect(errors["throughput, up to 256 GPUs"], run, run.throughput_error, row.throughput_doubt);
  if (row.peak_memory_gib && row.run->mesh.sizes[Axis::kTp] <= 4)
    collect(errors["memory, tp up to 4"], run, run.memory_error, row.memory_doubt);
}

void count_fit(FitCounts& counts, const ValidatedRun& run) {
  if (!run.predicted) return;
  const bool over = !run.predicted->fits;
  if (run.measured.status == "ok") {
    ++counts.ran;
    counts.ran_over += over;
  } else if (run.measured.status == "failed" || run.measured.status == "oom") {
    ++counts.failed;
    counts.failed_over += over;
    if (run.measured.run->mesh.sizes[Axis::kPp] >= 16) return;
    ++counts.failed_short_pipeline;
    counts.failed_short_pipeline_over += over;
  }
}

/// Predicted and measured tokens a second of the layouts of a group.
struct Group {
  std::vector<double> predicted;
  std::vector<double> measured;
};

using GroupKey = std::tuple<std::string, std::string, std::int64_t, std::int64_t, std::int64_t>;

LayoutChoice choice_of(const GroupKey& key, const Group& group) {
  std::vector<std::size_t> order(group.predicted.size());
  for (std::size_t i = 0; i < order.size(); ++i) order[i] = i;
  std::stable_sort(order.begin(), order.end(), [&](std::size_t a, std::size_t b) {
    return group.predicted[a] > group.predicted[b];
  });
  const double best = *std::max_element(group.measured.begin(), group.measured.end());
  double top = 0;
  for (std::size_t i = 0; i < std::min<std::size_t>(3, order.size()); ++i) {
    top = std::max(top, group.measured[order[i]]);
  }
  return {.model = std::get<1>(key),
          .gpus = std::get<2>(key),
          .global_batch = std::get<3>(key),
          .layouts = order.size(),
          .regret = 1 - group.measured[order.front()] / best,
          .top_three = 1 - top / best,
          .spearman = spearman(group.predicted, group.measured)};
}

std::vector<LayoutChoice> choices_of(const std::vector<ValidatedRun>& runs) {
  // Fewer say nothing of a choice.
  constexpr std::size_t kFewest = 3;
  std::map<GroupKey, Group> groups;
  for (const ValidatedRun& run : runs) {
    if (!run.throughput_error || !run.measured.tokens_per_second_per_gpu) continue;
    const PeerRun& peer = *run.measured.run;
    const std::int64_t batch =
        peer.microbatch_size * peer.accumulation * data_parallel_size(peer.mesh);
    Group& group = groups[{run.measured.runtime, run.measured.model, world_size(peer.mesh), batch,
                           peer.seq_length}];
    group.predicted.push_back(run.predicted->tokens_per_second_per_gpu);
    group.measured.push_back(*run.measured.tokens_per_second_per_gpu);
  }
  std::vector<LayoutChoice> choices;
  for (const auto& [key, group] : groups) {
    if (group.measured.size() >= kFewest) choices.push_back(choice_of(key, group));
  }
  return choices;
}

std::vector<ChoiceSummary> summarize_choices(const std::vector<LayoutChoice>& choices) {
  std::vector<ChoiceSummary> summaries;
  for (const std::int64_t gpus : {std::int64_t{64}, std::int64_t{256}, kMaxPeerRanks}) {
    std::vector<double> regrets;
    std::vector<double> correlations;
    ChoiceSummary summary{.gpus = gpus};
    for (const LayoutChoice& choice : choices) {
      if (choice.gpus > gpus) continue;
      regrets.push_back(choice.regret);
      correlations.push_back(choice.spearman);
      summary.worst_regret = std::max(summary.worst_regret, choice.regret);
      summary.worst_top_three = std::max(summary.worst_top_three, choice.top_three);
    }
    summary.groups = regrets.size();
    if (regrets.empty()) continue;
    summary.median_regret = quantile(regrets, 0.5);
    summary.median_spearman = quantile(correlations, 0.5);
    summaries.push_back(summary);
  }
  return summaries;
}

}  // namespace

ValidationSummary summarize(const std::vector<ValidatedRun>& runs) {
  ValidationSummary summary;
  summary.rows = runs.size();
  std::map<std::string, QuantityErrors> runtimes;
  std::map<std::string, QuantityErrors> sources;
  Errors korthikanti;
  for (const ValidatedRun& run : runs) {
    const MeasuredRun& row = run.measured;
    collect(runtimes[row.runtime], run);
    // The prefix of a row's name tells where it comes from.
    collect(sources[row.id.substr(0, row.id.find('-'))], run);
    if (!row.run) ++summary.skipped[row.skipped];
    count_fit(summary.fits[row.runtime], run);
    if (row.id.starts_with("korth")) collect(korthikanti, run, run.throughput_error, "");
  }
  summary.runtimes = statistics_of(runtimes);
  summary.sources = statistics_of(sources);
  if (!korthikanti.values.empty()) summary.korthikanti = statistics_of(korthikanti);
  summary.choices = choices_of(runs);
  summary.choice_summaries = summarize_choices(summary.choices);
  return summary;
}

}  // namespace meshplan::planner

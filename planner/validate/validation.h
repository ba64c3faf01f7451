#pragma once

#include <map>
#include <optional>
#include <string>
#include <vector>

#include "common/json.h"
#include "planner/runtime/peer_estimate.h"
#include "planner/validate/measured_run.h"

namespace meshplan::planner {

/// Predicted / measured - 1; nothing where the quantity is not measured, or in doubt.
struct RunErrors {
  std::optional<double> throughput;
  std::optional<double> memory;
};

/// Requires a run that is priced, and its estimate.
RunErrors errors_of(const MeasuredRun& measured, const PeerEstimate& predicted);

/// A measured run beside its prediction; nothing where the row is not priced.
struct ValidatedRun {
  MeasuredRun measured;
  std::optional<PeerEstimate> predicted;
  std::optional<double> throughput_error;
  std::optional<double> memory_error;
};

std::vector<ValidatedRun> validate(std::vector<MeasuredRun> runs);

/// Of a list of signed errors.
struct ErrorStatistics {
  std::size_t rows = 0;
  /// Rows that have the quantity but are left out for doubt, and that are not priced.
  std::size_t doubtful = 0;
  std::size_t skipped = 0;
  double median = 0;
  double mean = 0;
  double third_quartile = 0;
  double worst = 0;
  /// Median of the signed errors.
  double bias = 0;
};

/// Of a runtime or a source: each quantity ("throughput", "memory allocated", ...) that it has.
using QuantityStatistics = std::map<std::string, ErrorStatistics>;

/// Groups of rows that differ in layout alone: the same model, GPUs, sequence and global batch.
struct LayoutChoice {
  std::string model;
  std::int64_t gpus = 0;
  std::int64_t global_batch = 0;
  std::size_t layouts = 0;
  /// Throughput lost by running what is predicted fastest, and the best of the predicted top three.
  double regret = 0;
  double top_three = 0;
  /// Rank correlation of predicted and measured throughput.
  double spearman = 0;
};

/// Of the groups up to a number of GPUs.
struct ChoiceSummary {
  std::int64_t gpus = 0;
  std::size_t groups = 0;
  double median_regret = 0;
  double worst_regret = 0;
  double worst_top_three = 0;
  double median_spearman = 0;
};

/// Rows by what became of them, and how many are predicted not to fit.
struct FitCounts {
  std::size_t ran = 0;
  std::size_t ran_over = 0;
  std::size_t failed = 0;
  std::size_t failed_over = 0;
  /// Of failed rows with fewer than 16 stages.
  std::size_t failed_short_pipeline = 0;
  std::size_t failed_short_pipeline_over = 0;
};

struct ValidationSummary {
  std::size_t rows = 0;
  std::map<std::string, QuantityStatistics> runtimes;
  std::map<std::string, QuantityStatistics> sources;
  /// Why rows are not priced, with how many.
  std::map<std::string, std::size_t> skipped;
  std::map<std::string, FitCounts> fits;
  /// The points of Korthikanti et al. (ids korth-...), where the file has them.
  std::optional<ErrorStatistics> korthikanti;
  std::vector<LayoutChoice> choices;
  std::vector<ChoiceSummary> choice_summaries;
};

ValidationSummary summarize(const std::vector<ValidatedRun>& runs);

/// {"rows": [...], "summary": {...}}: docs/cost_model.md names the keys.
common::Json to_json(const std::vector<ValidatedRun>& runs, const ValidationSummary& summary);

}  // namespace meshplan::planner

#include "planner/validate/validation.h"

namespace meshplan::planner {
namespace {

using common::Json;

Json or_null(const std::optional<double>& value) { return value ? Json(*value) : Json(nullptr); }

Json or_null(const std::string& text) { return text.empty() ? Json(nullptr) : Json(text); }

Json gib(common::Bytes bytes) {
  return static_cast<double>(bytes.value) / static_cast<double>(common::kGiB.value);
}

Json prediction_json(const ValidatedRun& run) {
  if (!run.predicted) return nullptr;
  const PeerEstimate& predicted = *run.predicted;
  return {{"step_time_s", predicted.step_time.value},
          {"tokens_per_second_per_gpu", predicted.tokens_per_second_per_gpu},
          {"peak_allocated_gib", gib(predicted.peak_allocated)},
          {"peak_allocated_first_stage_gib", gib(predicted.peak_allocated_first_stage)},
          {"peak_reserved_gib", gib(predicted.peak_reserved)},
          {"fits", predicted.fits}};
}

/// The doubt of the row, or the one that was found in reading it.
std::string doubt_of(const MeasuredRun& run) {
  if (!run.doubt.empty()) return run.doubt;
  return run.throughput_doubt.empty() ? run.memory_doubt : run.throughput_doubt;
}

Json row_json(const ValidatedRun& run) {
  return {{"id", run.measured.id},
          {"source", run.measured.source},
          {"runtime", run.measured.runtime},
          {"status", run.measured.status},
          {"throughput_error", or_null(run.throughput_error)},
          {"memory_error", or_null(run.memory_error)},
          {"predicted", prediction_json(run)},
          {"doubt", or_null(doubt_of(run.measured))},
          {"skipped", or_null(run.measured.skipped)}};
}

Json statistics_json(const ErrorStatistics& statistics) {
  return {{"rows", statistics.rows},       {"doubtful", statistics.doubtful},
          {"skipped", statistics.skipped}, {"median", statistics.median},
          {"mean", statistics.mean},       {"third_quartile", statistics.third_quartile},
          {"worst", statistics.worst},     {"bias", statistics.bias}};
}

Json groups_json(const std::map<std::string, QuantityStatistics>& groups) {
  Json json = Json::object();
  for (const auto& [name, quantities] : groups) {
    Json entry = Json::object();
    for (const auto& [quantity, statistics] : quantities) {
      entry[quantity] = statistics_json(statistics);
    }
    json[name] = std::move(entry);
  }
  return json;
}

Json fits_json(const std::map<std::string, FitCounts>& fits) {
  Json json = Json::object();
  for (const auto& [runtime, counts] : fits) {
    json[runtime] = {
        {"ran", counts.ran},
        {"ran_predicted_not_to_fit", counts.ran_over},
        {"failed", counts.failed},
        {"failed_predicted_not_to_fit", counts.failed_over},
        {"failed_under_16_stages", counts.failed_short_pipeline},
        {"failed_under_16_stages_predicted_not_to_fit", counts.failed_short_pipeline_over}};
  }
  return json;
}

Json choices_json(const ValidationSummary& summary) {
  Json groups = Json::array();
  for (const LayoutChoice& choice : summary.choices) {
    groups.push_back({{"model", choice.model},
                      {"gpus", choice.gpus},
                      {"global_batch", choice.global_batch},
                      {"layouts", choice.layouts},
                      {"regret", choice.regret},
                      {"top_three", choice.top_three},
                      {"spearman", choice.spearman}});
  }
  Json summaries = Json::array();
  for (const ChoiceSummary& entry : summary.choice_summaries) {
    summaries.push_back(
        {{"up_to_gpus", entry.gpus >= kMaxPeerRanks ? Json(nullptr) : Json(entry.gpus)},
         {"groups", entry.groups},
         {"median_regret", entry.median_regret},
         {"worst_regret", entry.worst_regret},
         {"worst_top_three", entry.worst_top_three},
         {"median_spearman", entry.median_spearman}});
  }
  return {{"groups", std::move(groups)}, {"summaries", std::move(summaries)}};
}

}  // namespace

Json to_json(const std::vector<ValidatedRun>& runs, const ValidationSummary& summary) {
  Json rows = Json::array();
  for (const ValidatedRun& run : runs) rows.push_back(row_json(run));
  Json skipped = Json::object();
  for (const auto& [reason, count] : summary.skipped) skipped[reason] = count;
  return {{"schema_version", 1},
          {"rows", std::move(rows)},
          {"summary",
           {{"rows", summary.rows},
            {"runtimes", groups_json(summary.runtimes)},
            {"sources", groups_json(summary.sources)},
            {"skipped", std::move(skipped)},
            {"fits", fits_json(summary.fits)},
            {"korthikanti",
             summary.korthikanti ? statistics_json(*summary.korthikanti) : Json(nullptr)},
            {"layout_choice", choices_json(summary)}}}};
}

}  // namespace meshplan::planner

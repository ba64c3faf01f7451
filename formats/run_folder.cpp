#include "formats/run_folder.h"

#include <fmt/format.h>

#include "common/error.h"
#include "common/file.h"
#include "common/json.h"
#include "formats/json_lines.h"

namespace meshplan::formats {
namespace {

std::filesystem::path rank_file(const std::filesystem::path& folder, std::int64_t rank,
                                const char* suffix) {
  return folder / fmt::format("rank-{:05}.{}", rank, suffix);
}

RankSummary read_summary(const std::filesystem::path& path, std::int64_t rank) {
  const common::Json json = common::read_json_file(path);
  const common::JsonObject object(json, path.string());
  object.integer("schema_version", 1, 1);
  const RankSummary summary = {
      .rank = object.integer("rank"),
      .steps = object.integer("steps"),
      .peak_allocated = common::Bytes(object.integer("peak_allocated_bytes")),
      .peak_communication = common::Bytes(object.integer("peak_communication_bytes")),
      .median_step_time = common::Seconds(object.number("median_step_time_s", 0))};
  object.reject_unknown_keys();
  if (summary.rank != rank) {
    throw common::Error(common::ErrorCode::kInvalidInput,
                        fmt::format("is of rank {}, must be of rank {}", summary.rank, rank),
                        path.string() + ".rank");
  }
  return summary;
}

/// Cuts the file back to the lines whose `key` is below `end`.
void keep_lines_below(const std::filesystem::path& path, const char* key, std::int64_t end) {
  std::error_code absent;
  if (!std::filesystem::is_regular_file(path, absent)) return;
  std::string kept;
  read_json_lines(path, [&](const common::JsonObject& line) {
    if (line.integer(key) < end) kept += line.json().dump() + "\n";
  });
  common::write_file(path, kept);
}

}  // namespace

std::filesystem::path plan_path(const std::filesystem::path& run) { return run / "plan.json"; }

std::filesystem::path metrics_path(const std::filesystem::path& run) {
  return run / "metrics.jsonl";
}

std::filesystem::path meeting_path(const std::filesystem::path& run) {
  return run / "meeting.json";
}
std::filesystem::path epochs_path(const std::filesystem::path& run) { return run / "epochs.jsonl"; }

std::filesystem::path tensorboard_path(const std::filesystem::path& run) {
  return run / "tensorboard";
}

std::filesystem::path collectives_path(const std::filesystem::path& run, std::int64_t rank) {
  return rank_file(run / "collectives", rank, "jsonl");
}

std::filesystem::path trace_path(const std::filesystem::path& run, std::int64_t rank) {
  return rank_file(run / "traces", rank, "json");
}

std::filesystem::path step_trace_path(const std::filesystem::path& run, std::int64_t step,
                                      std::int64_t rank) {
  return rank_file(run / "traces" / fmt::format("step-{}", step), rank, "json");
}

std::filesystem::path memory_snapshot_path(const std::filesystem::path& run, std::int64_t step,
                                           std::int64_t rank, const char* suffix) {
  return rank_file(run / "memory" / fmt::format("step-{}", step), rank, suffix);
}

std::filesystem::path summary_path(const std::filesystem::path& run, std::int64_t rank) {
  return rank_file(run / "ranks", rank, "json");
}

void clear_measurements(const std::filesystem::path& run) {
  std::error_code absent;
  for (const char* folder : {"collectives", "traces", "ranks", "memory", "tensorboard"})
    std::filesystem::remove_all(run / folder, absent);
  std::filesystem::remove(metrics_path(run), absent);
  std::filesystem::remove(epochs_path(run), absent);
}

void keep_measurements_before(const std::filesystem::path& run, std::int64_t step,
                              std::int64_t epoch) {
  keep_lines_below(metrics_path(run), "step", step);
  keep_lines_below(epochs_path(run), "epoch", epoch);
}

void write_summary(const std::filesystem::path& run, const RankSummary& summary) {
  const common::Json json = {{"schema_version", 1},
                             {"rank", summary.rank},
                             {"steps", summary.steps},
                             {"peak_allocated_bytes", summary.peak_allocated.value},
                             {"peak_communication_bytes", summary.peak_communication.value},
                             {"median_step_time_s", summary.median_step_time.value}};
  common::write_file(summary_path(run, summary.rank), json.dump(2) + "\n");
}

std::vector<RankSummary> read_summaries(const std::filesystem::path& run, std::int64_t world_size) {
  std::vector<RankSummary> summaries;
  for (std::int64_t rank = 0; rank < world_size; ++rank)
    summaries.push_back(read_summary(summary_path(run, rank), rank));
  return summaries;
}

}  // namespace meshplan::formats

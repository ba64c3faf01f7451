#pragma once

#include <cstdint>
#include <filesystem>
#include <vector>

#include "common/units.h"

namespace meshplan::formats {

/// Where a training run writes what; `run` is STORAGE/EXPERIMENT.
std::filesystem::path plan_path(const std::filesystem::path& run);
std::filesystem::path metrics_path(const std::filesystem::path& run);
/// meeting_place.h; there while ranks that no master is named to are meeting.
std::filesystem::path meeting_path(const std::filesystem::path& run);
std::filesystem::path epochs_path(const std::filesystem::path& run);
/// The folder of TensorBoard's event files.
std::filesystem::path tensorboard_path(const std::filesystem::path& run);
/// Per rank: the collectives of one step, the measured trace of one step, and the summary below.
std::filesystem::path collectives_path(const std::filesystem::path& run, std::int64_t rank);
std::filesystem::path trace_path(const std::filesystem::path& run, std::int64_t rank);
/// The measured trace of a step that was asked for.
std::filesystem::path step_trace_path(const std::filesystem::path& run, std::int64_t step,
                                      std::int64_t rank);
/// A rank's memory in one step, by suffix: "json" or, as torch writes it for GPUs, "pickle".
std::filesystem::path memory_snapshot_path(const std::filesystem::path& run, std::int64_t step,
                                           std::int64_t rank, const char* suffix);
std::filesystem::path summary_path(const std::filesystem::path& run, std::int64_t rank);

/// What one rank measured over a run.
struct RankSummary {
  std::int64_t rank = 0;
  std::int64_t steps = 0;
  /// Highest memory of the rank's own tensors over all steps, and what the communication library
  /// held beside them.
  common::Bytes peak_allocated;
  common::Bytes peak_communication;
  /// Median over the steps after the first two.
  common::Seconds median_step_time;

  bool operator==(const RankSummary&) const = default;
};

/// Removes what an earlier run of the same name measured, so that nothing of it is taken for this
/// one's.
void clear_measurements(const std::filesystem::path& run);
/// For a run that goes on with this step of this epoch: metrics of later ones are cut off.
void keep_measurements_before(const std::filesystem::path& run, std::int64_t step,
                              std::int64_t epoch);

void write_summary(const std::filesystem::path& run, const RankSummary& summary);

/// The summaries of ranks 0 .. world_size - 1; throws kIo or kInvalidInput, naming the file, when
/// one is missing or wrong.
std::vector<RankSummary> read_summaries(const std::filesystem::path& run, std::int64_t world_size);

}  // namespace meshplan::formats

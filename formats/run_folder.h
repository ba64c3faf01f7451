#pragma once

#include <cstdint>
#include <filesystem>
#include <vector>

#include "common/units.h"

namespace meshplan::formats {

/// Where a training run writes what; `run` is STORAGE/EXPERIMENT.
std::filesystem::path plan_path(const std::filesystem::path& run);
std::filesystem::path metrics_path(const std::filesystem::path& run);
/// Per rank: the collectives of one step, the measured trace of one step, and the summary below.
std::filesystem::path collectives_path(const std::filesystem::path& run, std::int64_t rank);
std::filesystem::path trace_path(const std::filesystem::path& run, std::int64_t rank);
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
/// The same for a run that goes on with this step: what was measured before it stays.
void clear_measurements_from(const std::filesystem::path& run, std::int64_t step);

void write_summary(const std::filesystem::path& run, const RankSummary& summary);

/// The summaries of ranks 0 .. world_size - 1; throws kIo or kInvalidInput, naming the file, when
/// one is missing or wrong.
std::vector<RankSummary> read_summaries(const std::filesystem::path& run, std::int64_t world_size);

}  // namespace meshplan::formats

#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "common/json.h"
#include "formats/chrome_trace.h"
#include "planner/plan/plan.h"

namespace meshplan::cli {

/// An instruction's time on the compute track of a rank, what it waited for included.
struct InstructionTimes {
  std::string instruction;
  std::int64_t microbatch = 0;
  common::Seconds predicted;
  common::Seconds measured;
};

/// A simulated step laid over one that was measured.
struct TraceComparison {
  /// Each rank twice, "predicted" and "measured"; both steps begin at 0.
  formats::Trace trace;
  /// Of this rank, the furthest apart first.
  std::int64_t rank = 0;
  std::vector<InstructionTimes> instructions;
};

/// Plays the plan's step and reads the run's traces of these ranks; the first one's instructions
/// are compared. Throws kInvalidInput, naming the file, where a trace is missing or is none of the
/// plan's program. Requires a rank.
TraceComparison compare_traces(const planner::Plan& plan, const std::filesystem::path& run,
                               const std::vector<std::int64_t>& ranks);

/// measured / predicted; nothing where nothing was predicted.
std::optional<double> ratio(const InstructionTimes& times);

/// The instructions that are furthest apart, and the sum of all.
std::string instruction_table(const TraceComparison& comparison);

/// [{"instruction", "microbatch", "predicted_s", "measured_s", "ratio"}], the furthest apart first.
common::Json instructions_json(const TraceComparison& comparison);

}  // namespace meshplan::cli

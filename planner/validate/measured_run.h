#pragma once

#include <optional>
#include <string>
#include <vector>

#include "formats/csv.h"
#include "planner/runtime/peer_run.h"

namespace meshplan::planner {

enum class MemoryKind { kAllocated, kReserved, kUnstated };

/// One published run: what was run, and what was measured.
struct MeasuredRun {
  std::string id;
  std::string source;
  std::string runtime;
  std::string model;
  std::string gpu;
  /// Null where the row cannot be priced, for the reason in `skipped`.
  std::optional<PeerRun> run;
  std::string skipped;
  /// "ok", or what the source says instead: "failed", "oom".
  std::string status;
  /// Why throughput or memory are not judged; empty where they are.
  std::string throughput_doubt;
  std::string memory_doubt;
  std::string doubt;
  std::optional<double> peak_memory_gib;
  MemoryKind memory_kind = MemoryKind::kUnstated;
  std::optional<double> tokens_per_second_per_gpu;
  std::optional<double> tflops_per_gpu;
  std::optional<double> step_time_s;
  /// TFLOP/s count what activation checkpointing computes again.
  bool tflops_count_recomputation = false;
};

/// Rows in the vocabulary of docs/cost_model.md ("Columns"), or in that of the layout sweep, told
/// apart by their header. Unknown columns are ignored. Throws kInvalidInput with file, line and
/// column for a column that is missing, a number that is none or out of range; a row that is sound
/// but cannot be priced comes with its reason.
std::vector<MeasuredRun> read_measured_runs(const formats::CsvTable& table);

}  // namespace meshplan::planner

#pragma once

#include <array>
#include <cstdint>
#include <filesystem>
#include <map>
#include <string>
#include <vector>

#include "common/json.h"
#include "common/units.h"

namespace meshplan::formats {

/// The track layout that the simulator and the executor share, so that their traces overlay: a
/// process for each rank, in it a thread for each stream.
inline constexpr std::int64_t kComputeTrack = 0;
inline constexpr std::int64_t kTpTrack = 1;
inline constexpr std::int64_t kGatherTrack = 2;
inline constexpr std::int64_t kReduceTrack = 3;
inline constexpr std::int64_t kReplicateTrack = 4;
inline constexpr std::int64_t kContextTrack = 5;
inline constexpr std::int64_t kPipelineTrack = 6;
inline constexpr std::int64_t kExpertTrack = 7;
/// Names of the tracks, by number.
inline constexpr std::array kTrackNames = {"compute",
                                           "tp",
                                           "parameter gathering",
                                           "gradient reduction",
                                           "sums over replicas",
                                           "context",
                                           "pipeline",
                                           "experts"};

/// One piece of work on a track. Times are picoseconds from the begin of the trace: a sum of them
/// is exact, so neighbours meet and never overlap by a rounding.
struct TraceSlice {
  /// Rank.
  std::int64_t pid = 0;
  /// Track.
  std::int64_t tid = kComputeTrack;
  std::string name;
  /// Viewers filter by it; may be empty.
  std::string category;
  std::int64_t start_ps = 0;
  std::int64_t duration_ps = 0;
  /// What a click on the slice shows: an object, or null for nothing.
  common::Json arguments;
};

/// A value that holds from this time on, drawn as a graph of its process: bytes of memory.
struct TraceCounter {
  std::int64_t pid = 0;
  std::string name;
  std::int64_t time_ps = 0;
  std::int64_t value = 0;
};

struct Trace {
  /// Each is shown as a process with the tracks above, called "rank N" unless it has a name.
  std::vector<std::int64_t> ranks;
  std::vector<TraceSlice> slices;
  std::vector<TraceCounter> counters;
  std::map<std::int64_t, std::string> names = {};
};

/// Rounded to the nearest picosecond; throws kInternal for a time that is not finite or beyond 106
/// days.
std::int64_t to_picoseconds(common::Seconds time);

/// The trace as Chrome's JSON, which Perfetto and chrome://tracing open: slices as X events,
/// counters as C, names as M. Equal traces give equal bytes.
std::string to_chrome_json(const Trace& trace);

/// Writes to_chrome_json(trace) in place of the file, compressed where its name ends in .gz. Throws
/// kIo.
void write_chrome_trace(const std::filesystem::path& path, const Trace& trace);

/// The inverse of write_chrome_trace, for files that are not compressed; events of other phases
/// than its own are left out. Throws kIo, and kInvalidInput where an event is not as it must be.
Trace read_chrome_trace(const std::filesystem::path& path);

/// What viewers would draw wrong: slices that last less than nothing, and slices of one track that
/// overlap (a track does one thing at a time). One sentence each, ordered by track and time; empty
/// for a good trace.
std::vector<std::string> check_trace_nesting(const Trace& trace);

}  // namespace meshplan::formats

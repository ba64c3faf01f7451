#include "formats/chrome_trace.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <iterator>
#include <tuple>

#include "common/error.h"
#include "common/file.h"
#include "formats/gzip.h"

namespace meshplan::formats {
namespace {

using common::Json;

/// A JSON value on one line; bytes that are not UTF-8 are replaced, since names may come from
/// files.
std::string dump(const Json& value) {
  return value.dump(-1, ' ', false, Json::error_handler_t::replace);
}

/// The format counts in microseconds; six decimals hold picoseconds exactly.
std::string microseconds(std::int64_t picoseconds) {
  const std::uint64_t size = picoseconds < 0 ? 0 - static_cast<std::uint64_t>(picoseconds)
                                             : static_cast<std::uint64_t>(picoseconds);
  return fmt::format("{}{}.{:06}", picoseconds < 0 ? "-" : "", size / 1'000'000, size % 1'000'000);
}

std::string name_event(const char* what, std::int64_t pid, std::int64_t tid,
                       const std::string& name) {
  return fmt::format(R"({{"name":"{}","ph":"M","pid":{},"tid":{},"args":{{"name":{}}}}})", what,
                     pid, tid, dump(name));
}

std::string slice_event(const TraceSlice& slice) {
  return fmt::format(R"({{"name":{},"cat":{},"ph":"X","ts":{},"dur":{},"pid":{},"tid":{}{}}})",
                     dump(slice.name), dump(slice.category), microseconds(slice.start_ps),
                     microseconds(slice.duration_ps), slice.pid, slice.tid,
                     slice.arguments.is_null() ? "" : ",\"args\":" + dump(slice.arguments));
}

std::string counter_event(const TraceCounter& counter) {
  return fmt::format(R"({{"name":{},"ph":"C","ts":{},"pid":{},"args":{{"value":{}}}}})",
                     dump(counter.name), microseconds(counter.time_ps), counter.pid, counter.value);
}

}  // namespace

std::int64_t to_picoseconds(common::Seconds time) {
  const double picoseconds = std::round(time.value * 1e12);
  // 2^63 as a double; the negation of the comparison catches NaN.
  if (!(std::abs(picoseconds) < 9223372036854775808.0)) {
    throw common::Error(common::ErrorCode::kInternal,
                        fmt::format("{} s cannot be shown in a trace", time.value));
  }
  return static_cast<std::int64_t>(picoseconds);
}

std::string to_chrome_json(const Trace& trace) {
  std::string json = "{\"displayTimeUnit\":\"ms\",\"traceEvents\":[";
  bool first = true;
  const auto add = [&json, &first](const std::string& event) {
    json += first ? "\n" : ",\n";
    json += event;
    first = false;
  };
  for (const std::int64_t rank : trace.ranks) {
    const auto name = trace.names.find(rank);
    add(name_event("process_name", rank, 0,
                   name == trace.names.end() ? fmt::format("rank {}", rank) : name->second));
    for (std::size_t track = 0; track < kTrackNames.size(); ++track) {
      add(name_event("thread_name", rank, static_cast<std::int64_t>(track), kTrackNames[track]));
    }
  }
  for (const TraceSlice& slice : trace.slices) add(slice_event(slice));
  for (const TraceCounter& counter : trace.counters) add(counter_event(counter));
  return json + "\n]}\n";
}

void write_chrome_trace(const std::filesystem::path& path, const Trace& trace) {
  const std::string json = to_chrome_json(trace);
  common::write_file(path, path.extension() == ".gz" ? gzip(json) : json);
}

std::vector<std::string> check_trace_nesting(const Trace& trace) {
  std::vector<const TraceSlice*> order;
  for (const TraceSlice& slice : trace.slices) order.push_back(&slice);
  const auto place = [](const TraceSlice* slice) {
    return std::tuple(slice->pid, slice->tid, slice->start_ps, slice->duration_ps);
  };
  std::stable_sort(order.begin(), order.end(),
                   [&place](const auto* a, const auto* b) { return place(a) < place(b); });
  std::vector<std::string> violations;
  const TraceSlice* last = nullptr;
  for (const TraceSlice* slice : order) {
    if (slice->duration_ps < 0) {
      violations.push_back(fmt::format("pid {} tid {}: '{}' at {} us lasts {} us", slice->pid,
                                       slice->tid, slice->name, microseconds(slice->start_ps),
                                       microseconds(slice->duration_ps)));
    }
    const bool same_track = last != nullptr && last->pid == slice->pid && last->tid == slice->tid;
    if (same_track && slice->start_ps < last->start_ps + last->duration_ps) {
      violations.push_back(
          fmt::format("pid {} tid {}: '{}' begins at {} us, before '{}' ends at {} us", slice->pid,
                      slice->tid, slice->name, microseconds(slice->start_ps), last->name,
                      microseconds(last->start_ps + last->duration_ps)));
    }
    // The slice that ends last so far: a long one may overlap several others.
    if (!same_track || slice->start_ps + slice->duration_ps > last->start_ps + last->duration_ps) {
      last = slice;
    }
  }
  return violations;
}

}  // namespace meshplan::formats

#include <cmath>
#include <limits>

#include "formats/chrome_trace.h"

namespace meshplan::formats {
namespace {

using common::JsonObject;

/// 100 days in microseconds: to_picoseconds() writes no more.
constexpr double kLatest = 100.0 * 86400 * 1e6;

std::int64_t picoseconds(const JsonObject& event, const char* key, double least) {
  return std::llround(event.number(key, least, kLatest) * 1e6);
}

TraceSlice slice_of(const JsonObject& event) {
  TraceSlice slice{.pid = event.integer("pid"),
                   .tid = event.integer("tid"),
                   .name = event.text("name"),
                   .category = event.text_or("cat", ""),
                   .start_ps = picoseconds(event, "ts", -kLatest),
                   .duration_ps = picoseconds(event, "dur", 0),
                   .arguments = nullptr};
  if (event.has("args")) slice.arguments = event.object("args").json();
  return slice;
}

TraceCounter counter_of(const JsonObject& event) {
  return {.pid = event.integer("pid"),
          .name = event.text("name"),
          .time_ps = picoseconds(event, "ts", -kLatest),
          .value = event.object("args").integer("value", std::numeric_limits<std::int64_t>::min())};
}

}  // namespace

Trace read_chrome_trace(const std::filesystem::path& path) {
  const common::Json json = common::read_json_file(path);
  Trace trace;
  for (const JsonObject& event : JsonObject(json, path.string()).objects("traceEvents")) {
    const std::string phase = event.text("ph");
    if (phase == "X") trace.slices.push_back(slice_of(event));
    if (phase == "C") trace.counters.push_back(counter_of(event));
    if (phase == "M" && event.text("name") == "process_name") {
      trace.ranks.push_back(event.integer("pid"));
      trace.names[trace.ranks.back()] = event.object("args").text("name");
    }
  }
  return trace;
}

}  // namespace meshplan::formats

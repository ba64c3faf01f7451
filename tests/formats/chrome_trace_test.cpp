#include "formats/chrome_trace.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <limits>

#include "common/file.h"
#include "formats/gzip.h"
#include "tests/common/expect_error.h"
#include "tests/common/temporary_folder.h"

namespace meshplan::formats {
namespace {

using common::Json;
using common::Seconds;

Trace two_slices() {
  Trace trace;
  trace.ranks = {3};
  trace.slices = {{3, kComputeTrack, "forward \"block 0\"", "forward", 0, 12'345'678, {}},
                  {3, kTpTrack, "all_reduce", "collective", 12'345'678, 1, {{"bytes", 4096}}}};
  trace.counters = {{3, "allocated bytes", 1'000'000, 1 << 20}};
  return trace;
}

TEST(ChromeTrace, HasTheFormatsText) {
  EXPECT_EQ(to_chrome_json(two_slices()),
            R"({"displayTimeUnit":"ms","traceEvents":[
{"name":"process_name","ph":"M","pid":3,"tid":0,"args":{"name":"rank 3"}},
{"name":"thread_name","ph":"M","pid":3,"tid":0,"args":{"name":"compute"}},
{"name":"thread_name","ph":"M","pid":3,"tid":1,"args":{"name":"tp"}},
{"name":"thread_name","ph":"M","pid":3,"tid":2,"args":{"name":"parameter gathering"}},
{"name":"thread_name","ph":"M","pid":3,"tid":3,"args":{"name":"gradient reduction"}},
{"name":"thread_name","ph":"M","pid":3,"tid":4,"args":{"name":"sums over replicas"}},
{"name":"thread_name","ph":"M","pid":3,"tid":5,"args":{"name":"context"}},
{"name":"thread_name","ph":"M","pid":3,"tid":6,"args":{"name":"pipeline"}},
{"name":"thread_name","ph":"M","pid":3,"tid":7,"args":{"name":"experts"}},
{"name":"forward \"block 0\"","cat":"forward","ph":"X","ts":0.000000,"dur":12.345678,"pid":3,"tid":0},
{"name":"all_reduce","cat":"collective","ph":"X","ts":12.345678,"dur":0.000001,"pid":3,"tid":1,"args":{"bytes":4096}},
{"name":"allocated bytes","ph":"C","ts":1.000000,"pid":3,"args":{"value":1048576}}
]}
)");
}

TEST(ChromeTrace, IsJsonWhateverTheNames) {
  Trace trace;
  trace.slices = {
      {0, 0, "\xff\n\"{}", "\\", -1'500'000, std::numeric_limits<std::int64_t>::max(), {}}};
  const Json event = common::parse_json(to_chrome_json(trace), "trace")["traceEvents"][0];
  EXPECT_EQ(event["name"], "\xef\xbf\xbd\n\"{}");
  EXPECT_EQ(event["cat"], "\\");
  EXPECT_EQ(event["ts"], -1.5);
}

TEST(ChromeTrace, WithoutEventsIsJsonToo) {
  EXPECT_TRUE(common::parse_json(to_chrome_json({}), "trace")["traceEvents"].empty());
}

TEST(ChromeTrace, TheFileHoldsTheText) {
  const tests::TemporaryFolder folder;
  write_chrome_trace(folder / "run" / "trace.json", two_slices());
  EXPECT_EQ(common::read_file(folder / "run" / "trace.json", common::kGB),
            to_chrome_json(two_slices()));
}

TEST(ChromeTrace, SecondsBecomePicosecondsToTheNearest) {
  EXPECT_EQ(to_picoseconds(Seconds(1.5)), 1'500'000'000'000);
  EXPECT_EQ(to_picoseconds(Seconds(0.6e-12)), 1);
  EXPECT_EQ(to_picoseconds(Seconds(-0.6e-12)), -1);
}

TEST(ChromeTrace, RefusesTimesThatItCannotHold) {
  for (const double time : {std::numeric_limits<double>::quiet_NaN(),
                            std::numeric_limits<double>::infinity(), 9.3e6, -9.3e6}) {
    tests::expect_error(
        common::ErrorCode::kInternal, [time] { to_picoseconds(Seconds(time)); }, "trace");
  }
}

TraceSlice slice(std::int64_t pid, std::int64_t tid, std::int64_t start, std::int64_t duration,
                 const char* name) {
  return {pid, tid, name, "", start, duration, {}};
}

TEST(TraceNesting, NeighboursAndOtherTracksMayMeet) {
  Trace trace;
  trace.slices = {slice(0, 0, 10, 5, "b"), slice(0, 0, 0, 10, "a"), slice(0, 0, 15, 0, "c"),
                  slice(0, 1, 0, 15, "d"), slice(1, 0, 3, 4, "e")};
  EXPECT_THAT(check_trace_nesting(trace), testing::IsEmpty());
  EXPECT_THAT(check_trace_nesting(two_slices()), testing::IsEmpty());
}

TEST(TraceNesting, NamesEverySliceThatBeginsInsideAnother) {
  Trace trace;
  trace.slices = {slice(2, 1, 8'000'000, 1, "c"), slice(2, 1, 0, 10'000'000, "a"),
                  slice(2, 1, 1'000'000, 1'000'000, "b")};
  EXPECT_THAT(check_trace_nesting(trace),
              testing::ElementsAre(
                  "pid 2 tid 1: 'b' begins at 1.000000 us, before 'a' ends at 10.000000 us",
                  "pid 2 tid 1: 'c' begins at 8.000000 us, before 'a' ends at 10.000000 us"));
}

TEST(TraceNesting, NamesASliceOfNegativeLength) {
  Trace trace;
  trace.slices = {slice(0, 0, 5, -1, "a")};
  EXPECT_THAT(check_trace_nesting(trace),
              testing::ElementsAre("pid 0 tid 0: 'a' at 0.000005 us lasts -0.000001 us"));
}

TEST(ChromeTrace, IsReadAsItWasWritten) {
  const tests::TemporaryFolder folder;
  Trace trace = two_slices();
  trace.names = {{3, "rank 3"}};
  write_chrome_trace(folder / "trace.json", trace);
  const Trace read = read_chrome_trace(folder / "trace.json");
  EXPECT_EQ(to_chrome_json(read), to_chrome_json(trace));
  EXPECT_EQ(read.slices[1].start_ps, 12'345'678);
  EXPECT_EQ(read.slices[1].duration_ps, 1);
}

TEST(ChromeTrace, IsRefusedWhereAnEventIsNotAsItMustBe) {
  const tests::TemporaryFolder folder;
  const std::string path = folder / "trace.json";
  for (const char* text :
       {"{}", "[]", R"({"traceEvents":[1]})", R"({"traceEvents":[{"ph":"X"}]})",
        R"({"traceEvents":[{"ph":"X","name":"a","pid":0,"tid":0,"ts":1e300,"dur":1}]})",
        R"({"traceEvents":[{"ph":"X","name":"a","pid":0,"tid":0,"ts":0,"dur":-1}]})"}) {
    common::write_file(path, text);
    tests::expect_error(
        common::ErrorCode::kInvalidInput, [&] { read_chrome_trace(path); }, path);
  }
}

TEST(Gzip, IsTheSameForTheSameBytes) {
  const std::string packed = gzip("hello");
  EXPECT_EQ(packed, gzip("hello"));
  EXPECT_EQ(packed.substr(0, 4), std::string("\x1f\x8b\x08\x00", 4));
  // Neither date nor name; the last four bytes are the length.
  EXPECT_EQ(packed.substr(4, 4), std::string(4, '\0'));
  EXPECT_EQ(packed.substr(packed.size() - 4), std::string("\x05\x00\x00\x00", 4));
  const std::string long_text(1'000'000, 'x');
  EXPECT_LT(gzip(long_text).size(), 2000U);
}

}  // namespace
}  // namespace meshplan::formats

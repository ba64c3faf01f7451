#include "gui/models/timeline_tracks.h"

#include <gtest/gtest.h>

#include "tests/gui/support.h"

namespace meshplan::gui {
namespace {

Track evenTrack(std::int64_t slices, std::int64_t length, std::int64_t gap) {
  Track track;
  track.names = {"kernel"};
  for (std::int64_t i = 0; i < slices; ++i) {
    const std::int64_t start = i * (length + gap);
    track.slices.push_back({.start = start, .end = start + length});
  }
  return track;
}

TEST(ForEachShown, DrawsEverySliceThatIsAPixelWide) {
  const Track track = evenTrack(100, 80, 20);
  int drawn = 0;
  forEachShown(track.slices, 0, 10'000, 10, [&](const TrackSlice&, bool narrow) {
    EXPECT_FALSE(narrow);
    ++drawn;
  });
  EXPECT_EQ(drawn, 100);
}

TEST(ForEachShown, DrawsNoMoreThanThePixelsOfAMillion) {
  const Track track = evenTrack(1'000'000, 8, 2);
  constexpr int kPixels = 1000;
  int drawn = 0;
  forEachShown(track.slices, 0, 10'000'000, 10'000'000.0 / kPixels,
               [&](const TrackSlice&, bool) { ++drawn; });
  EXPECT_GT(drawn, kPixels / 2);
  EXPECT_LE(drawn, kPixels + 1);
}

TEST(ForEachShown, KeepsToItsSpan) {
  const Track track = evenTrack(1000, 80, 20);
  forEachShown(track.slices, 20'000, 30'000, 1, [](const TrackSlice& slice, bool) {
    EXPECT_GT(slice.end, 20'000);
    EXPECT_LT(slice.start, 30'000);
  });
}

TEST(SliceAt, IsTheSliceThatCoversTheTime) {
  const Track track = evenTrack(10, 80, 20);
  EXPECT_EQ(sliceAt(track.slices, 0), 0U);
  EXPECT_EQ(sliceAt(track.slices, 279), 2U);
  EXPECT_EQ(sliceAt(track.slices, 290), std::nullopt);
  EXPECT_EQ(sliceAt(track.slices, 5'000), std::nullopt);
}

TEST(Timeline, OfAStepHasItsStreamsAndItsMemory) {
  Workspace workspace;
  settle(workspace, smallInputs());
  const LayoutDetail& detail = *workspace.detailing.detail();
  ASSERT_TRUE(detail.step) << detail.simulationFailure.toStdString();
  const Timeline& timeline = detail.timeline;
  ASSERT_GE(timeline.tracks.size(), 2U);
  EXPECT_EQ(timeline.end, detail.step->step_time);
  EXPECT_EQ(timeline.peak, detail.step->peaks.front().total.value);
  for (const Track& track : timeline.tracks) {
    for (std::size_t i = 1; i < track.slices.size(); ++i)
      ASSERT_GE(track.slices[i].start, track.slices[i - 1].end) << track.title.toStdString();
  }
  const auto most = memoryByPixel(timeline, 0, timeline.end, 200);
  EXPECT_EQ(*std::max_element(most.begin(), most.end()), timeline.peak);
}

TEST(Timeline, TheCriticalPathGoesThroughItsTracksWithoutAGap) {
  Workspace workspace;
  Inputs inputs = smallInputs();
  inputs[Field::kTp] = "4";
  settle(workspace, inputs);
  const Timeline& timeline = workspace.detailing.detail()->timeline;
  std::vector<TrackSlice> path;
  for (const Track& track : timeline.tracks) {
    path.insert(path.end(), track.critical.begin(), track.critical.end());
    for (const TrackSlice& part : track.critical) {
      const auto middle = sliceAt(track.slices, (part.start + part.end) / 2);
      if (middle) {
        EXPECT_TRUE(isCritical(track, track.slices[*middle]));
      }
    }
  }
  std::sort(path.begin(), path.end(),
            [](const TrackSlice& a, const TrackSlice& b) { return a.start < b.start; });
  std::int64_t reached = 0;
  for (const TrackSlice& part : path) {
    ASSERT_EQ(part.start, reached);
    reached = part.end;
  }
  EXPECT_EQ(reached, timeline.end);
  EXPECT_EQ(timeline.handovers.size() + 1, path.size());
}

TEST(Timeline, MeasuredTracksDoNotOverlapEither) {
  formats::Trace trace;
  for (std::int64_t i = 0; i < 50; ++i) {
    formats::TraceSlice& slice = trace.slices.emplace_back();
    slice.tid = i % 2;
    slice.name.assign(1, i % 3 == 0 ? 'a' : 'b');
    slice.category = "kernel";
    slice.start_ps = 1'000'000 + i * 100;
    slice.duration_ps = 150;
  }
  trace.slices.emplace_back().tid = 99;
  Timeline timeline;
  addMeasured(timeline, trace);
  ASSERT_EQ(timeline.tracks.size(), 2U);
  for (const Track& track : timeline.tracks) {
    ASSERT_EQ(track.slices.size(), 25U);
    for (std::size_t i = 1; i < track.slices.size(); ++i)
      EXPECT_GE(track.slices[i].start, track.slices[i - 1].end);
  }
}

TEST(FindSlice, GoesThroughAllThatMatchAndRound) {
  Workspace workspace;
  settle(workspace, smallInputs());
  const Timeline timeline = workspace.detailing.detail()->timeline;
  EXPECT_EQ(findSlice(timeline, "no such kernel", {}), std::nullopt);
  EXPECT_EQ(findSlice(timeline, "", {}), std::nullopt);
  const auto first = findSlice(timeline, "optimizer", {});
  ASSERT_TRUE(first);
  auto place = first;
  for (int i = 0; i < 1000; ++i) {
    const auto next = findSlice(timeline, "optimizer", place);
    ASSERT_TRUE(next);
    place = next;
    if (next == first) return;
  }
  FAIL() << "does not come round";
}

}  // namespace
}  // namespace meshplan::gui

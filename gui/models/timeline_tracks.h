// SPDX-License-Identifier: GPL-3.0-or-later
#pragma once

#include <QString>
#include <array>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "formats/chrome_trace.h"
#include "planner/plan/plan.h"
#include "simulator/simulate.h"

namespace meshplan::gui {

/// What a slice's colour tells.
enum class SliceKind { kForward, kBackward, kHead, kOptimizer, kTp, kGather, kReduce, kOther };
inline constexpr std::size_t kSliceKinds = 8;
QString nameOf(SliceKind kind);

/// One piece of work; those of a track follow one another and do not overlap.
struct TrackSlice {
  std::int64_t start = 0;
  std::int64_t end = 0;
  SliceKind kind = SliceKind::kOther;
  /// Index into the track's names.
  std::uint32_t name = 0;
  /// What it is part of: index into Timeline::details.
  std::uint32_t detail = 0;
};

/// A stream of a rank.
struct Track {
  QString title;
  std::vector<std::string> names;
  std::vector<TrackSlice> slices;
  /// When the critical path is here; in order, without names.
  std::vector<TrackSlice> critical;
};

/// The critical path goes from one track on to another.
struct Handover {
  std::int64_t time = 0;
  std::size_t from = 0;
  std::size_t to = 0;
};

/// Allocated memory from a time on.
struct MemoryPoint {
  std::int64_t time = 0;
  std::int64_t bytes = 0;
};

/// A step, picoseconds from 0 to `end`.
struct Timeline {
  std::vector<Track> tracks;
  std::vector<std::string> details;
  /// In the order of time.
  std::vector<Handover> handovers;
  /// Of the first rank.
  std::vector<MemoryPoint> memory;
  std::int64_t peak = 0;
  /// By SliceKind: whether any track has it.
  std::array<bool, kSliceKinds> shows{};
  std::int64_t end = 0;
};

/// Of the ranks whose timelines the step kept.
Timeline timelineOf(const planner::ModelSpec& model, const simulator::SimulatedStep& step);

/// Adds what was measured, each stream as a track below those that there are; it begins at 0.
void addMeasured(Timeline& timeline, const formats::Trace& trace);

/// Calls `draw(slice, narrow)` for what shows of [from, to) at so many picoseconds a pixel: slices
/// of a pixel or more, and of those that are narrower one for each pixel. Takes time by the pixels
/// and not by the slices.
void forEachShown(const std::vector<TrackSlice>& slices, std::int64_t from, std::int64_t to,
                  double perPixel, const std::function<void(const TrackSlice&, bool)>& draw);

/// The slice at this time.
std::optional<std::size_t> sliceAt(const std::vector<TrackSlice>& slices, std::int64_t time);

/// Whether the critical path passes through a part of the slice.
bool isCritical(const Track& track, const TrackSlice& slice);

/// A slice by its place.
struct SlicePlace {
  std::size_t track = 0;
  std::size_t slice = 0;

  bool operator==(const SlicePlace&) const = default;
};

/// The next slice in time, from `after` on and then from the begin, of which name or detail holds
/// the text; nothing where there is none.
std::optional<SlicePlace> findSlice(const Timeline& timeline, const QString& text,
                                    std::optional<SlicePlace> after);

/// Most memory at each of `pixels` pixels of [from, to).
std::vector<std::int64_t> memoryByPixel(const Timeline& timeline, std::int64_t from,
                                        std::int64_t to, int pixels);

}  // namespace meshplan::gui

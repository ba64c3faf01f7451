// SPDX-License-Identifier: GPL-3.0-or-later
#include "gui/models/timeline_tracks.h"

#include <QObject>
#include <algorithm>
#include <limits>
#include <map>
#include <string_view>
#include <tuple>

#include "formats/chrome_trace.h"

namespace meshplan::gui {
namespace {

using planner::Opcode;
using planner::Stream;

SliceKind kindOf(const simulator::SimulatedSlice& slice, const planner::Instruction& instruction) {
  switch (slice.stream) {
    case Stream::kTp:
      return SliceKind::kTp;
    case Stream::kGather:
      return SliceKind::kGather;
    case Stream::kReduce:
    case Stream::kReplicate:
      return SliceKind::kReduce;
    case Stream::kCompute:
      break;
    default:
      return SliceKind::kOther;
  }
  switch (instruction.opcode) {
    case Opcode::kForward:
      return SliceKind::kForward;
    case Opcode::kBackward:
      return SliceKind::kBackward;
    case Opcode::kLoss:
      return SliceKind::kHead;
    case Opcode::kGradientNorm:
    case Opcode::kClipGradients:
    case Opcode::kOptimizerStep:
      return SliceKind::kOptimizer;
    default:
      return SliceKind::kOther;
  }
}

/// Of a measured slice nothing but its track is known.
SliceKind measuredKind(std::size_t stream) {
  switch (static_cast<std::int64_t>(stream)) {
    case formats::kTpTrack:
      return SliceKind::kTp;
    case formats::kGatherTrack:
      return SliceKind::kGather;
    case formats::kReduceTrack:
    case formats::kReplicateTrack:
      return SliceKind::kReduce;
    default:
      return SliceKind::kOther;
  }
}

/// Builds the tracks of one rank.
class RankTracks {
 public:
  RankTracks(const planner::ModelSpec& model, const simulator::SimulatedStep& step,
             const simulator::RankTimeline& rank, Timeline& into)
      : m_model(model), m_step(step), m_rank(rank), m_into(into) {}

  /// Notes where in `tracks` the streams of the rank's stage are.
  void add(std::map<std::pair<std::size_t, Stream>, std::size_t>& tracks) {
    const auto& instructions = m_step.instructions[m_rank.stage];
    m_details.assign(instructions.size(), kUnknown);
    for (const simulator::SimulatedSlice& slice : m_rank.slices) {
      Building& building = trackOf(slice.stream);
      const auto [name, isNew] = building.nameIndex.try_emplace(
          slice.name, static_cast<std::uint32_t>(building.track.names.size()));
      if (isNew) building.track.names.emplace_back(slice.name);
      const auto index = static_cast<std::size_t>(slice.instruction);
      building.track.slices.push_back({.start = slice.start,
                                       .end = slice.end,
                                       .kind = kindOf(slice, instructions[index]),
                                       .name = name->second,
                                       .detail = detailOf(index, instructions[index])});
    }
    for (auto& [stream, building] : m_building) {
      tracks.emplace(std::pair(m_rank.stage, stream), m_into.tracks.size());
      m_into.tracks.push_back(std::move(building.track));
    }
  }

 private:
  static constexpr std::uint32_t kUnknown = 0xffffffff;
  struct Building {
    Track track;
    std::map<std::string_view, std::uint32_t> nameIndex;
  };

  Building& trackOf(Stream stream) {
    Building& building = m_building[stream];
    if (building.track.title.isEmpty()) {
      building.track.title = QString("%1 (rank %2)")
                                 .arg(formats::kTrackNames[static_cast<std::size_t>(stream)])
                                 .arg(m_rank.rank);
    }
    return building;
  }

  std::uint32_t detailOf(std::size_t index, const planner::Instruction& instruction) {
    if (m_details[index] == kUnknown) {
      m_details[index] = static_cast<std::uint32_t>(m_into.details.size());
      m_into.details.push_back(planner::describe(m_model, instruction) + ", microbatch " +
                               std::to_string(instruction.microbatch));
    }
    return m_details[index];
  }

  const planner::ModelSpec& m_model;
  const simulator::SimulatedStep& m_step;
  const simulator::RankTimeline& m_rank;
  Timeline& m_into;
  std::map<Stream, Building> m_building;
  std::vector<std::uint32_t> m_details;
};

/// Ranks of a stage are alike, so that the path through one is that through all.
void addPath(const simulator::CriticalPath& path,
             const std::map<std::pair<std::size_t, Stream>, std::size_t>& tracks,
             Timeline& timeline) {
  std::optional<std::size_t> before;
  for (const simulator::PathStretch& stretch : path.stretches) {
    const auto found = tracks.find({stretch.place.stage, stretch.stream});
    if (found == tracks.end()) {
      before.reset();
      continue;
    }
    timeline.tracks[found->second].critical.push_back({.start = stretch.start, .end = stretch.end});
    if (before) timeline.handovers.push_back({stretch.start, *before, found->second});
    before = found->second;
  }
}

}  // namespace

QString nameOf(SliceKind kind) {
  switch (kind) {
    case SliceKind::kForward:
      return QObject::tr("forward");
    case SliceKind::kBackward:
      return QObject::tr("backward");
    case SliceKind::kHead:
      return QObject::tr("head and loss");
    case SliceKind::kOptimizer:
      return QObject::tr("optimizer");
    case SliceKind::kTp:
      return QObject::tr("tp collective");
    case SliceKind::kGather:
      return QObject::tr("parameter gather");
    case SliceKind::kReduce:
      return QObject::tr("gradient reduction");
    case SliceKind::kOther:
      return QObject::tr("other");
  }
  return {};
}

Timeline timelineOf(const planner::ModelSpec& model, const simulator::SimulatedStep& step) {
  Timeline timeline;
  std::map<std::pair<std::size_t, Stream>, std::size_t> tracks;
  for (const simulator::RankTimeline& rank : step.timelines)
    RankTracks(model, step, rank, timeline).add(tracks);
  if (step.critical_path) addPath(*step.critical_path, tracks, timeline);
  for (const Track& track : timeline.tracks) {
    for (const TrackSlice& slice : track.slices)
      timeline.shows[static_cast<std::size_t>(slice.kind)] = true;
    if (!track.slices.empty()) timeline.end = std::max(timeline.end, track.slices.back().end);
  }
  timeline.end = std::max(timeline.end, step.step_time);
  if (!step.timelines.empty()) {
    for (const simulator::MemorySample& sample : step.timelines.front().memory)
      timeline.memory.push_back({sample.time, planner::total(sample.breakdown).value});
  }
  for (const MemoryPoint& point : timeline.memory)
    timeline.peak = std::max(timeline.peak, point.bytes);
  return timeline;
}

void addMeasured(Timeline& timeline, const formats::Trace& trace) {
  std::map<std::pair<std::int64_t, std::int64_t>, Track> tracks;
  std::map<std::string, std::uint32_t> details;
  std::int64_t begin = std::numeric_limits<std::int64_t>::max();
  for (const formats::TraceSlice& slice : trace.slices) begin = std::min(begin, slice.start_ps);
  for (const formats::TraceSlice& slice : trace.slices) {
    const auto stream = static_cast<std::size_t>(slice.tid);
    if (slice.tid < 0 || stream >= formats::kTrackNames.size() || slice.duration_ps < 0) continue;
    Track& track = tracks[{slice.pid, slice.tid}];
    const auto known = std::find(track.names.begin(), track.names.end(), slice.name);
    const auto name = static_cast<std::uint32_t>(known - track.names.begin());
    if (known == track.names.end()) track.names.push_back(slice.name);
    const auto [detail, isNew] =
        details.try_emplace(slice.category, static_cast<std::uint32_t>(timeline.details.size()));
    if (isNew) timeline.details.push_back("measured " + slice.category);
    const std::int64_t start = slice.start_ps - begin;
    track.slices.push_back({.start = start,
                            .end = start + slice.duration_ps,
                            .kind = measuredKind(stream),
                            .name = name,
                            .detail = detail->second});
  }
  for (auto& [place, track] : tracks) {
    track.title = QObject::tr("measured %1")
                      .arg(formats::kTrackNames[static_cast<std::size_t>(place.second)]);
    std::sort(track.slices.begin(), track.slices.end(),
              [](const TrackSlice& a, const TrackSlice& b) { return a.start < b.start; });
    // Nested ranges would hide what follows them.
    std::int64_t reached = 0;
    for (TrackSlice& slice : track.slices) {
      slice.start = std::max(slice.start, reached);
      slice.end = std::max(slice.end, slice.start);
      reached = slice.end;
      timeline.shows[static_cast<std::size_t>(slice.kind)] = true;
    }
    timeline.end = std::max(timeline.end, reached);
    timeline.tracks.push_back(std::move(track));
  }
}

void forEachShown(const std::vector<TrackSlice>& slices, std::int64_t from, std::int64_t to,
                  double perPixel, const std::function<void(const TrackSlice&, bool)>& draw) {
  auto next = std::partition_point(slices.begin(), slices.end(),
                                   [from](const TrackSlice& slice) { return slice.end <= from; });
  const auto pixel = std::max<std::int64_t>(1, static_cast<std::int64_t>(perPixel));
  while (next != slices.end() && next->start < to) {
    const bool narrow = next->end - next->start < pixel;
    draw(*next, narrow);
    const std::int64_t reached = narrow ? next->start + pixel : next->end;
    ++next;
    if (!narrow || next == slices.end() || next->end > reached) continue;
    next = std::partition_point(
        next, slices.end(), [reached](const TrackSlice& slice) { return slice.end <= reached; });
  }
}

std::optional<std::size_t> sliceAt(const std::vector<TrackSlice>& slices, std::int64_t time) {
  const auto found = std::partition_point(
      slices.begin(), slices.end(), [time](const TrackSlice& slice) { return slice.end <= time; });
  if (found == slices.end() || found->start > time) return std::nullopt;
  return static_cast<std::size_t>(found - slices.begin());
}

bool isCritical(const Track& track, const TrackSlice& slice) {
  const auto next =
      std::partition_point(track.critical.begin(), track.critical.end(),
                           [&](const TrackSlice& part) { return part.end <= slice.start; });
  return next != track.critical.end() && next->start < slice.end;
}

std::optional<SlicePlace> findSlice(const Timeline& timeline, const QString& text,
                                    std::optional<SlicePlace> after) {
  if (text.isEmpty()) return std::nullopt;
  const auto holds = [&](const std::string& what) {
    return QString::fromStdString(what).contains(text, Qt::CaseInsensitive);
  };
  std::vector<char> details;
  for (const std::string& detail : timeline.details) details.push_back(holds(detail));
  const std::int64_t begin =
      after ? timeline.tracks[after->track].slices[after->slice].start : std::int64_t{-1};
  // By time first, then by track, going round at the end.
  using Order = std::tuple<bool, std::int64_t, std::size_t>;
  std::optional<std::pair<Order, SlicePlace>> best;
  for (std::size_t t = 0; t < timeline.tracks.size(); ++t) {
    const Track& track = timeline.tracks[t];
    std::vector<char> names;
    for (const std::string& name : track.names) names.push_back(holds(name));
    for (std::size_t s = 0; s < track.slices.size(); ++s) {
      const TrackSlice& slice = track.slices[s];
      if (!names[slice.name] && !details[slice.detail]) continue;
      const bool later = !after || std::pair(slice.start, t) > std::pair(begin, after->track);
      const Order order{!later, slice.start, t};
      if (!best || order < best->first) best = {order, SlicePlace{t, s}};
    }
  }
  if (!best) return std::nullopt;
  return best->second;
}

std::vector<std::int64_t> memoryByPixel(const Timeline& timeline, std::int64_t from,
                                        std::int64_t to, int pixels) {
  std::vector<std::int64_t> most(static_cast<std::size_t>(std::max(0, pixels)), 0);
  const auto& points = timeline.memory;
  if (points.empty() || most.empty() || to <= from) return most;
  auto next = std::partition_point(points.begin(), points.end(),
                                   [from](const MemoryPoint& point) { return point.time <= from; });
  std::int64_t held = next == points.begin() ? 0 : std::prev(next)->bytes;
  const double perPixel = static_cast<double>(to - from) / static_cast<double>(pixels);
  for (std::size_t p = 0; p < most.size(); ++p) {
    const auto end = from + static_cast<std::int64_t>(perPixel * static_cast<double>(p + 1));
    most[p] = held;
    for (; next != points.end() && next->time < end; ++next) {
      held = next->bytes;
      most[p] = std::max(most[p], held);
    }
  }
  return most;
}

}  // namespace meshplan::gui

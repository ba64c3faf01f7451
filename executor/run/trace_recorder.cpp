#include "executor/run/trace_recorder.h"

#include <array>
#include <utility>

namespace meshplan::executor {
namespace {

using planner::Axis;
using planner::CollectiveKind;

/// The track on which the program issues a collective of this axis and kind.
std::int64_t track_of(const IssuedCollective& collective) {
  if (collective.axis == Axis::kTp) return formats::kTpTrack;
  if (collective.axis == Axis::kDpReplicate) return formats::kReplicateTrack;
  return collective.kind == CollectiveKind::kAllGather ? formats::kGatherTrack
                                                       : formats::kReduceTrack;
}

}  // namespace

TraceRecorder::Slice::Slice(TraceRecorder& recorder, formats::TraceSlice slice)
    : recorder_(recorder), slice_(std::move(slice)), begin_(recorder.mark_device()) {
  slice_.start_ps = recorder_.ps_at(std::chrono::steady_clock::now());
}

TraceRecorder::Slice::~Slice() {
  slice_.duration_ps = recorder_.ps_at(std::chrono::steady_clock::now()) - slice_.start_ps;
  recorder_.slices_.push_back(std::move(slice_));
  recorder_.marks_.push_back({std::move(begin_), recorder_.mark_device()});
}

DeviceMark TraceRecorder::mark_device() const {
  return device_.is_cpu() ? nullptr : mark(current_stream(device_));
}

void TraceRecorder::start_step() {
  slices_.clear();
  marks_.clear();
  start_ = std::chrono::steady_clock::now();
}

std::int64_t TraceRecorder::ps_at(std::chrono::steady_clock::time_point time) const {
  return std::chrono::duration_cast<std::chrono::nanoseconds>(time - start_).count() * 1000;
}

TraceRecorder::Slice TraceRecorder::compute(const planner::ModelSpec& model,
                                            const planner::Instruction& instruction) {
  return Slice(*this, {.pid = rank_,
                       .tid = formats::kComputeTrack,
                       .name = planner::describe(model, instruction),
                       .category = "instruction",
                       .start_ps = 0,
                       .duration_ps = 0,
                       .arguments = {{"microbatch", instruction.microbatch}}});
}

formats::Trace TraceRecorder::trace(const CollectiveLog& log) const {
  formats::Trace trace;
  trace.ranks = {rank_};
  trace.slices = slices_;
  DeviceClock clock(device_);
  for (std::size_t i = 0; i < slices_.size() && !device_.is_cpu(); ++i) {
    formats::TraceSlice& slice = trace.slices[i];
    slice.start_ps = ps_at(clock.time_of(marks_[i].begin));
    slice.duration_ps = ps_at(clock.time_of(marks_[i].end)) - slice.start_ps;
  }
  const std::vector<CollectiveTiming> timings = log.timings(device_.is_cpu() ? nullptr : &clock);
  std::array<std::int64_t, formats::kTrackNames.size()> free{};
  for (std::size_t i = 0; i < log.issued().size(); ++i) {
    const IssuedCollective& collective = log.issued()[i];
    const CollectiveTiming& timing = timings[i];
    const std::int64_t track = track_of(collective);
    std::int64_t& track_free = free[static_cast<std::size_t>(track)];
    const std::int64_t start = std::max(track_free, ps_at(timing.issued));
    track_free = std::max(start, ps_at(timing.waited));
    trace.slices.push_back({.pid = rank_,
                            .tid = track,
                            .name = planner::to_string(collective.kind),
                            .category = planner::to_string(collective.axis),
                            .start_ps = start,
                            .duration_ps = track_free - start,
                            .arguments = {{"bytes", collective.bytes.value}}});
  }
  return trace;
}

}  // namespace meshplan::executor

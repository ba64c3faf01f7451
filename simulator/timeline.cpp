#include "simulator/timeline.h"

#include <utility>

#include "formats/chrome_trace.h"

namespace meshplan::simulator {
namespace {

using planner::Operation;
using planner::OperationKind;

/// Goes through the operations of a rank in order, beside the times of its beats.
class TimelineWriter {
 public:
  TimelineWriter(const Score& score, const Engine& engine, Place place, bool with_slices)
      : score_(score),
        engine_(engine),
        place_(place),
        times_(engine.watched(place)),
        with_slices_(with_slices),
        now_(planner::persistent_breakdown(score.stage.context)) {
    timeline_.stage = place.stage;
    timeline_.peak = {.breakdown = now_, .total = planner::total(now_)};
    timeline_.memory.push_back({0, now_});
  }

  RankTimeline write() {
    for (std::size_t i = 0; i < score_.instructions.size(); ++i) {
      pass_waits(i);
      const planner::PricedOperations& operations = score_.operations_of(i);
      for (std::size_t o = 0; o < operations.size(); ++o) play(i, o, operations[o]);
      if (with_slices_) timeline_.instruction_ends.push_back(compute_);
    }
    return std::move(timeline_);
  }

 private:
  bool is_at(BeatKind kind, std::size_t instruction) const {
    const auto next = static_cast<std::size_t>(next_);
    return next < score_.beats.size() && score_.move_at(next_).kind == kind &&
           static_cast<std::size_t>(score_.beats[next].instruction) == instruction;
  }

  /// Beats of the instruction that have no operation.
  void pass_waits(std::size_t instruction) {
    while (is_at(BeatKind::kWait, instruction) || is_at(BeatKind::kReceive, instruction)) pass();
  }

  void pass() {
    compute_ = times_[static_cast<std::size_t>(next_)].compute;
    ++next_;
  }

  void play(std::size_t instruction, std::size_t index, const planner::PricedOperation& priced) {
    const Operation& operation = priced.operation;
    switch (operation.kind) {
      case OperationKind::kKernel:
        run_kernel(instruction, index, priced);
        break;
      case OperationKind::kCollective:
        run_collective(instruction, operation);
        break;
      case OperationKind::kWait:
        break;
      case OperationKind::kAllocate:
        change_memory(instruction, operation.memory, operation.bytes);
        break;
      case OperationKind::kFree:
        change_memory(instruction, operation.memory, -operation.bytes);
        break;
    }
    // Kernels may be followed by others of the same beat.
    if (operation.kind != OperationKind::kAllocate && operation.kind != OperationKind::kFree)
      pass_waits(instruction);
  }

  void run_kernel(std::size_t instruction, std::size_t index,
                  const planner::PricedOperation& priced) {
    const Move& move = score_.move_at(next_);
    if (index == move.first_operation) price_ = 0;
    price_ += formats::to_picoseconds(priced.price.duration);
    const Picoseconds begin = times_[static_cast<std::size_t>(next_)].start;
    const Picoseconds end = begin + engine_.kernel_time(place_, next_, price_);
    add({.name = priced.operation.name,
         .start = compute_,
         .end = end,
         .instruction = static_cast<std::int32_t>(instruction),
         .axis = {},
         .bytes = priced.operation.bytes});
    compute_ = end;
    if (index + 1 == move.end_operation) pass();
  }

  void run_collective(std::size_t instruction, const Operation& operation) {
    const BeatTimes& times = times_[static_cast<std::size_t>(next_)];
    const auto number = static_cast<std::int32_t>(instruction);
    add({.stream = operation.stream,
         .name = operation.name,
         .start = times.start,
         .end = times.end,
         .instruction = number,
         .axis = operation.axis,
         .bytes = operation.bytes});
    if (operation.stream != planner::Stream::kCompute) {
      add({.name = "taken by collective",
           .start = compute_,
           .end = times.compute,
           .instruction = number,
           .axis = {},
           .bytes = {}});
    }
    pass();
  }

  void add(const SimulatedSlice& slice) {
    if (with_slices_ && slice.end > slice.start) timeline_.slices.push_back(slice);
  }

  void change_memory(std::size_t instruction, planner::MemoryClass memory, common::Bytes change) {
    now_[static_cast<std::size_t>(memory)] += change;
    if (with_slices_) {
      if (timeline_.memory.back().time == compute_) timeline_.memory.pop_back();
      timeline_.memory.push_back({compute_, now_});
    }
    const common::Bytes total = planner::total(now_);
    if (total <= timeline_.peak.total) return;
    timeline_.peak = {
        .breakdown = now_, .total = total, .time = compute_, .instruction = instruction};
  }

  const Score& score_;
  const Engine& engine_;
  Place place_;
  const std::vector<BeatTimes>& times_;
  bool with_slices_;
  planner::MemoryBreakdown now_;
  BeatIndex next_ = 0;
  Picoseconds compute_ = 0;
  /// Of the kernels of the beat so far.
  Picoseconds price_ = 0;
  RankTimeline timeline_;
};

}  // namespace

RankTimeline timeline_of(const Score& score, const Engine& engine, Place place, bool with_slices) {
  return TimelineWriter(score, engine, place, with_slices).write();
}

}  // namespace meshplan::simulator

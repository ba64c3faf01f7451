#include "planner/cost/memory.h"

#include <algorithm>

#include "planner/cost/short_program.h"

namespace meshplan::planner {
namespace {

/// Memory as the program is played, and the highest that it was.
class MemoryPlayer {
 public:
  explicit MemoryPlayer(const MemoryBreakdown& start) : now_(start), total_(total(start)) {
    peak_.breakdown = start;
    peak_total_ = total_;
  }

  const MemoryBreakdown& now() const { return now_; }
  const MemoryPeak& peak() const { return peak_; }

  void play(const ShapedSegment& segment, const std::vector<PricedInstruction>& kinds,
            std::int64_t repetition) {
    for (const ShapedInstruction& shaped : segment.instructions) {
      const InstructionCost& cost = kinds[shaped.kind].cost;
      if (total_ + cost.peak_total > peak_total_)
        note_peak(shaped.instruction, cost, repetition * segment.unit_stride);
      for (std::size_t c = 0; c < kMemoryClasses; ++c) now_[c] += cost.net[c];
      total_ += cost.net_total;
    }
  }

  /// Moves on by `times` repetitions that each changed memory from `before` to now.
  void skip(const MemoryBreakdown& before, std::int64_t times) {
    const MemoryBreakdown after = now_;
    for (std::size_t c = 0; c < kMemoryClasses; ++c) {
      const common::Bytes change = (after[c] - before[c]) * times;
      now_[c] += change;
      total_ += change;
    }
  }

 private:
  void note_peak(Instruction instruction, const InstructionCost& cost, std::int64_t units) {
    peak_total_ = total_ + cost.peak_total;
    if (instruction.unit != kNoUnit) instruction.unit += units;
    peak_.instruction = instruction;
    for (std::size_t c = 0; c < kMemoryClasses; ++c) peak_.breakdown[c] = now_[c] + cost.peak[c];
  }

  MemoryBreakdown now_;
  common::Bytes total_;
  MemoryPeak peak_;
  common::Bytes peak_total_;
};

/// Plays the first and the last of `count` repetitions: each changes memory by the same.
template <class Body>
void play_repeated(MemoryPlayer& player, std::int64_t count, const Body& body) {
  const MemoryBreakdown before = player.now();
  body(0);
  if (count > 2) player.skip(before, count - 2);
  if (count > 1) body(count - 1);
}

}  // namespace

MemoryBreakdown persistent_breakdown(const StepContext& context) {
  const PersistentMemory persistent = persistent_memory(context);
  MemoryBreakdown breakdown{};
  breakdown[static_cast<std::size_t>(MemoryClass::kParameters)] = persistent.parameters;
  breakdown[static_cast<std::size_t>(MemoryClass::kOptimizer)] = persistent.optimizer;
  breakdown[static_cast<std::size_t>(MemoryClass::kTemporaries)] = persistent.temporaries;
  return breakdown;
}

MemoryPeak memory_peak(const StepContext& context, const PricedProgram& program) {
  MemoryPlayer player(persistent_breakdown(context));
  for (const ShapedPhase& phase : program.shape.phases) {
    play_repeated(player, phase.repetition.count, [&](std::int64_t) {
      for (const ShapedSegment& segment : phase.segments) {
        play_repeated(player, segment.repetition.count, [&](std::int64_t repetition) {
          player.play(segment, program.kinds, repetition);
        });
      }
    });
  }
  return player.peak();
}

std::vector<Stage> stages_that_peak(const ModelSpec& model, const Layout& layout) {
  if (!can_be_shortened(model, layout)) return stages_of(model, layout);
  constexpr std::int64_t kUntilAllBuffers = 3;
  std::vector<Stage> stages;
  std::vector<Regions> seen;
  for (const Stage& stage : stages_of(model, layout)) {
    if (!stage.is_first() && !stage.is_last()) {
      const auto [regions, runs] = lengths_of(layout, stage);
      if (std::find(seen.begin(), seen.end(), regions) != seen.end()) continue;
      if (runs[0] + kUntilAllBuffers <= layout.accumulation) seen.push_back(regions);
    }
    stages.push_back(stage);
  }
  return stages;
}

}  // namespace meshplan::planner

#pragma once

#include <cstdint>
#include <vector>

#include "planner/program/step_program.h"

namespace meshplan::planner {

/// Appends instructions at known positions of the unrolled program, so that waits can be written as
/// distances, and folds repetitions that are alike into one segment.
class Emitter {
 public:
  /// Units first_block .. first_block + blocks - 1 are the model's blocks, which are alike, but for
  /// those that `apart` names, which are alike among themselves; the others are not.
  Emitter(std::int64_t units, std::int64_t first_block, std::int64_t blocks,
          const std::vector<std::int64_t>& apart = {});

  /// What follows is a pass of that microbatch of `count`, through that chunk of the stage.
  void begin_microbatch(std::int64_t index, std::int64_t count, std::int64_t chunk = 0);
  const MicrobatchPlace& place() const { return place_; }

  /// Issues the gathering of a copy that takes the place of the one released last: one unit ahead,
  /// and no further. Nothing where the unit's copy is still there.
  void gather(std::int64_t unit);
  void release(std::int64_t unit);

  /// Forward, backward or loss. The first computation after a gather waits for it. A loss retires
  /// the last reduction of the microbatch before, whose buffers it may need (tied embeddings).
  void compute(Opcode opcode, Computation computation, std::int64_t unit, Recompute recompute = {});
  void reduce_replicated(std::int64_t unit);

  /// Sends or receives at the stage's input or output, where the embedding's or the head's own
  /// computation would stand.
  void transfer(Opcode opcode, Computation in_place_of);

  /// Reduces the unit's gradients and retires the reduction before it: two are alive at most.
  void reduce(std::int64_t unit);
  /// Adds the unit's gradients to those that are kept whole; nothing is issued.
  void accumulate(std::int64_t unit);
  /// Retires the reduction under way, if it is one of the last microbatch, and sums what it left
  /// over the replicas.
  void sum_replicas_of_last_reduction();
  /// Adds the gradients of a weight that another stage holds, too; retires the last reduction.
  void reduce_tied(std::int64_t unit);

  /// An instruction of no unit. The gradient norm retires the last reduction and waits for the sums
  /// over replicas.
  void whole(Opcode opcode);

  /// Emits body(unit) for `count` units from `first`, each `stride` after the last. Repetitions
  /// that are alike but for the unit become one segment; one that waits at another distance, as the
  /// first often does, stands alone.
  template <class Body>
  void repeat(std::int64_t first, std::int64_t stride, std::int64_t count, const Body& body) {
    const std::size_t before = segments_.size();
    for (std::int64_t i = 0; i < count; ++i) {
      body(first + i * stride);
      close_repetition(before, stride);
    }
  }

  template <class Body>
  void once(const Body& body) {
    repeat(0, 0, 1, [&body](std::int64_t) { body(); });
  }

  Phase take_phase();

  /// Emits body(index) for microbatches 0 .. count - 1 of a run and appends a phase for each that
  /// is unlike the others. The first two differ: the first by what went before it, and the second
  /// retires what the first left, which may be unlike the others. The last may be that of the step.
  /// All between are alike, and distances do not depend on how many they are.
  template <class Body>
  void microbatches(StepProgram& program, std::int64_t count, const Body& body) {
    const auto phase = [&](std::int64_t index, std::int64_t alike) {
      body(index);
      program.phases.push_back(take_phase());
      program.phases.back().count = alike;
    };
    if (count > 0) phase(0, 1);
    if (count > 2) phase(1, 1);
    if (count > 3) phase(2, count - 3);
    if (count > 1) phase(count - 1, 1);
  }

  /// Norm, clipping, update and report: the end of every step.
  void epilogue(StepProgram& program, const Job& job) {
    once([&] {
      whole(Opcode::kGradientNorm);
      // In float16 it divides by the loss scale, too.
      if (job.max_grad_norm > 0 || job.param_dtype == common::DataType::kFloat16)
        whole(Opcode::kClipGradients);
      whole(Opcode::kOptimizerStep);
      whole(Opcode::kReportLoss);
    });
    program.phases.push_back(take_phase());
  }

 private:
  static constexpr std::int64_t kNowhere = -1;

  struct Reduction {
    std::int64_t unit = kNoUnit;
    std::int64_t position = 0;
    MicrobatchPlace place;
  };

  static std::int64_t& at(std::vector<std::int64_t>& positions, std::int64_t unit) {
    return positions[static_cast<std::size_t>(unit)];
  }

  /// Units of one sort are alike, but for the others.
  enum class Sort : std::uint8_t { kOther, kBlock, kApart };
  Sort sort_of(std::int64_t unit) const { return sorts_[static_cast<std::size_t>(unit)]; }
  /// The instructions since the last repetition become a segment, or lengthen the last one if that
  /// is not older than `first_segment`.
  void close_repetition(std::size_t first_segment, std::int64_t stride);
  bool continues(const Segment& segment, std::int64_t stride) const;
  bool uses_up_gathers() const;
  std::int64_t add(Instruction instruction);
  void retire_reduction(Instruction& instruction);

  std::vector<Sort> sorts_;
  std::vector<Instruction> instructions_;
  std::vector<Segment> segments_;
  /// Units with a gathered copy.
  std::vector<bool> held_;
  /// Where each unit was gathered, until that is waited for, and last computed.
  std::vector<std::int64_t> gathered_;
  std::vector<std::int64_t> computed_;
  /// The last release whose place no gather has taken.
  std::int64_t released_ = kNowhere;
  Reduction reduced_;
  /// Where the last sum over replicas was issued.
  std::int64_t summed_ = kNowhere;
  std::int64_t position_ = 0;
  std::int64_t microbatch_ = 0;
  std::int64_t chunk_ = 0;
  MicrobatchPlace place_;
};

}  // namespace meshplan::planner

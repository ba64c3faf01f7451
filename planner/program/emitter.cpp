#include "planner/program/emitter.h"

#include <algorithm>
#include <utility>

namespace meshplan::planner {

Emitter::Emitter(std::int64_t units, std::int64_t first_block, std::int64_t blocks,
                 const std::vector<std::int64_t>& apart)
    : sorts_(static_cast<std::size_t>(units), Sort::kOther),
      held_(static_cast<std::size_t>(units), false),
      gathered_(static_cast<std::size_t>(units), kNowhere),
      computed_(static_cast<std::size_t>(units)) {
  std::fill_n(sorts_.begin() + first_block, blocks, Sort::kBlock);
  for (std::int64_t unit : apart) sorts_[static_cast<std::size_t>(unit)] = Sort::kApart;
}

void Emitter::begin_microbatch(std::int64_t index, std::int64_t count, std::int64_t chunk) {
  microbatch_ = index;
  chunk_ = chunk;
  place_ = {.first = index == 0, .last = index + 1 == count};
}

void Emitter::gather(std::int64_t unit) {
  if (held_[static_cast<std::size_t>(unit)]) return;
  held_[static_cast<std::size_t>(unit)] = true;
  Instruction instruction{
      .opcode = Opcode::kGatherParameters, .stream = Stream::kGather, .unit = unit};
  if (released_ != kNowhere) instruction.waits[0] = position_ - released_;
  released_ = kNowhere;
  at(gathered_, unit) = add(instruction);
}

void Emitter::release(std::int64_t unit) {
  held_[static_cast<std::size_t>(unit)] = false;
  released_ = add({.opcode = Opcode::kReleaseParameters, .unit = unit});
}

void Emitter::compute(Opcode opcode, Computation computation, std::int64_t unit,
                      Recompute recompute) {
  Instruction instruction{
      .opcode = opcode, .computation = computation, .unit = unit, .recompute = recompute};
  std::int64_t& gathered = at(gathered_, unit);
  // The embedding's backward pass adds rows to the gradient and reads no weight.
  const bool reads_weights =
      !(opcode == Opcode::kBackward && computation == Computation::kEmbedding);
  if (reads_weights && gathered != kNowhere) {
    instruction.waits[0] = position_ - gathered;
    gathered = kNowhere;
  }
  if (opcode == Opcode::kLoss) retire_reduction(instruction);
  at(computed_, unit) = add(instruction);
}

void Emitter::reduce_replicated(std::int64_t unit) {
  at(computed_, unit) =
      add({.opcode = Opcode::kReduceReplicatedGradients, .stream = Stream::kTp, .unit = unit});
}

void Emitter::transfer(Opcode opcode, Computation in_place_of) {
  add({.opcode = opcode, .stream = Stream::kPipeline, .computation = in_place_of, .chunk = chunk_});
}

void Emitter::reduce(std::int64_t unit) {
  Instruction instruction{
      .opcode = Opcode::kReduceGradients, .stream = Stream::kReduce, .unit = unit};
  instruction.waits[0] = position_ - at(computed_, unit);
  retire_reduction(instruction);
  reduced_ = {unit, add(instruction), place_};
}

void Emitter::accumulate(std::int64_t unit) {
  Instruction instruction{
      .opcode = Opcode::kReduceGradients, .stream = Stream::kReduce, .unit = unit};
  instruction.waits[0] = position_ - at(computed_, unit);
  add(instruction);
}

void Emitter::sum_replicas_of_last_reduction() {
  if (reduced_.unit == kNoUnit || !reduced_.place.last) return;
  Instruction instruction{
      .opcode = Opcode::kSumReplicas, .stream = Stream::kReplicate, .unit = reduced_.unit};
  retire_reduction(instruction);
  summed_ = add(instruction);
}

void Emitter::reduce_tied(std::int64_t unit) {
  Instruction instruction{
      .opcode = Opcode::kReduceTiedGradients, .stream = Stream::kPipeline, .unit = unit};
  retire_reduction(instruction);
  if (summed_ != kNowhere) instruction.waits[0] = position_ - summed_;
  add(instruction);
}

void Emitter::whole(Opcode opcode) {
  Instruction instruction{.opcode = opcode};
  if (opcode == Opcode::kGradientNorm) {
    retire_reduction(instruction);
    if (summed_ != kNowhere) instruction.waits[0] = position_ - summed_;
  }
  add(instruction);
}

Phase Emitter::take_phase() { return Phase{.segments = std::exchange(segments_, {})}; }

void Emitter::close_repetition(std::size_t first_segment, std::int64_t stride) {
  if (segments_.size() > first_segment && !uses_up_gathers() &&
      continues(segments_.back(), stride)) {
    ++segments_.back().count;
    segments_.back().unit_stride = stride;
  } else if (!instructions_.empty()) {
    segments_.push_back({1, 0, instructions_});
  }
  instructions_.clear();
}

/// Whether the repetition waits for more gathers than it issues: the next one's, though as many
/// instructions ago, is fewer gathers ago.
bool Emitter::uses_up_gathers() const {
  std::int64_t awaited = 0;
  for (const Instruction& instruction : instructions_) {
    const bool computes = instruction.opcode == Opcode::kForward ||
                          instruction.opcode == Opcode::kBackward ||
                          instruction.opcode == Opcode::kLoss;
    if (computes && instruction.waits[0] > 0) ++awaited;
    if (instruction.opcode == Opcode::kGatherParameters) --awaited;
  }
  return awaited > 0;
}

/// Whether the repetition is the segment's next one, on units of the same kinds.
bool Emitter::continues(const Segment& segment, std::int64_t stride) const {
  const auto moves = [&](std::int64_t from, std::int64_t to) {
    if (from == kNoUnit) return to == kNoUnit;
    return from + stride * segment.count == to && sort_of(from) == sort_of(to);
  };
  const auto same = [&moves](const Instruction& first, const Instruction& next) {
    Instruction expected = first;
    expected.unit = next.unit;
    expected.retires = next.retires;
    return expected == next && moves(first.unit, next.unit) && moves(first.retires, next.retires);
  };
  return std::equal(segment.instructions.begin(), segment.instructions.end(), instructions_.begin(),
                    instructions_.end(), same);
}

std::int64_t Emitter::add(Instruction instruction) {
  instruction.microbatch = microbatch_;
  instruction.place = place_;
  instructions_.push_back(instruction);
  return position_++;
}

void Emitter::retire_reduction(Instruction& instruction) {
  if (reduced_.unit == kNoUnit) return;
  instruction.waits[1] = position_ - reduced_.position;
  instruction.retires = reduced_.unit;
  instruction.retires_place = reduced_.place;
  reduced_ = {};
}

}  // namespace meshplan::planner

#include <algorithm>
#include <utility>

#include "planner/model/parameter_table.h"
#include "planner/program/step_program.h"

namespace meshplan::planner {
namespace {

/// Appends instructions at known positions of the unrolled program, so that waits can be written as
/// distances, and folds repetitions that are alike into one segment.
class Emitter {
 public:
  /// Units first_block .. first_block + blocks - 1 are alike; the others are not.
  Emitter(std::int64_t units, std::int64_t first_block, std::int64_t blocks)
      : first_block_(first_block),
        blocks_(blocks),
        gathered_(static_cast<std::size_t>(units)),
        computed_(static_cast<std::size_t>(units)) {}

  void begin_microbatch(std::int64_t index, std::int64_t count) {
    microbatch_ = index;
    place_ = {.first = index == 0, .last = index + 1 == count};
  }

  void gather(std::int64_t unit) {
    Instruction instruction{
        .opcode = Opcode::kGatherParameters, .stream = Stream::kGather, .unit = unit};
    // The copy takes the place of the one released last: one unit ahead, and no further.
    if (released_ != kNeverReleased) instruction.waits[0] = position_ - released_;
    at(gathered_, unit) = add(instruction);
  }

  void release(std::int64_t unit) {
    released_ = add({.opcode = Opcode::kReleaseParameters, .unit = unit});
  }

  void compute(Opcode opcode, Computation computation, std::int64_t unit) {
    Instruction instruction{.opcode = opcode, .computation = computation, .unit = unit};
    // The embedding's backward pass adds rows to the gradient and reads no weight.
    const bool reads_weights =
        !(opcode == Opcode::kBackward && computation == Computation::kEmbedding);
    if (reads_weights) instruction.waits[0] = position_ - at(gathered_, unit);
    at(computed_, unit) = add(instruction);
  }

  void reduce_replicated(std::int64_t unit) {
    at(computed_, unit) =
        add({.opcode = Opcode::kReduceReplicatedGradients, .stream = Stream::kTp, .unit = unit});
  }

  /// Reduces the unit's gradients and retires the reduction before it: two are alive at most.
  void reduce(std::int64_t unit) {
    Instruction instruction{
        .opcode = Opcode::kReduceGradients, .stream = Stream::kReduce, .unit = unit};
    instruction.waits[0] = position_ - at(computed_, unit);
    retire_reduction(instruction);
    reduced_ = {unit, add(instruction), place_};
  }

  /// An instruction of no unit. The gradient norm retires the last reduction.
  void whole(Opcode opcode) {
    Instruction instruction{.opcode = opcode};
    if (opcode == Opcode::kGradientNorm) retire_reduction(instruction);
    add(instruction);
  }

  /// Emits body(unit) for `count` units from `first`, each `stride` after the last. Repetitions
  /// that are alike but for the unit become one segment; one that waits at another distance, as the
  /// first often does, stands alone.
  template <class Body>
  void repeat(std::int64_t first, std::int64_t stride, std::int64_t count, const Body& body) {
    const std::size_t before = segments_.size();
    for (std::int64_t i = 0; i < count; ++i) {
      body(first + i * stride);
      if (segments_.size() > before && continues(segments_.back(), stride, instructions_)) {
        ++segments_.back().count;
        segments_.back().unit_stride = stride;
      } else {
        segments_.push_back({1, 0, instructions_});
      }
      instructions_.clear();
    }
  }

  template <class Body>
  void once(const Body& body) {
    repeat(0, 0, 1, [&body](std::int64_t) { body(); });
  }

  Phase take_phase() { return Phase{1, std::exchange(segments_, {})}; }

 private:
  static constexpr std::int64_t kNeverReleased = -1;

  struct Reduction {
    std::int64_t unit = kNoUnit;
    std::int64_t position = 0;
    MicrobatchPlace place;
  };

  static std::int64_t& at(std::vector<std::int64_t>& positions, std::int64_t unit) {
    return positions[static_cast<std::size_t>(unit)];
  }

  bool is_block(std::int64_t unit) const {
    return unit >= first_block_ && unit < first_block_ + blocks_;
  }

  /// Whether the repetition is the segment's next one, on units of the same kinds.
  bool continues(const Segment& segment, std::int64_t stride,
                 const std::vector<Instruction>& repetition) const {
    const auto moves = [&](std::int64_t from, std::int64_t to) {
      if (from == kNoUnit) return to == kNoUnit;
      return from + stride * segment.count == to && is_block(from) == is_block(to);
    };
    const auto same = [&moves](const Instruction& first, const Instruction& next) {
      Instruction expected = first;
      expected.unit = next.unit;
      expected.retires = next.retires;
      return expected == next && moves(first.unit, next.unit) && moves(first.retires, next.retires);
    };
    return std::equal(segment.instructions.begin(), segment.instructions.end(), repetition.begin(),
                      repetition.end(), same);
  }

  std::int64_t add(Instruction instruction) {
    instruction.microbatch = microbatch_;
    instruction.place = place_;
    instructions_.push_back(instruction);
    return position_++;
  }

  void retire_reduction(Instruction& instruction) const {
    if (reduced_.unit == kNoUnit) return;
    instruction.waits[1] = position_ - reduced_.position;
    instruction.retires = reduced_.unit;
    instruction.retires_place = reduced_.place;
  }

  std::int64_t first_block_;
  std::int64_t blocks_;
  std::vector<Instruction> instructions_;
  std::vector<Segment> segments_;
  /// Where each unit was last gathered, and last computed.
  std::vector<std::int64_t> gathered_;
  std::vector<std::int64_t> computed_;
  std::int64_t released_ = kNeverReleased;
  Reduction reduced_;
  std::int64_t position_ = 0;
  std::int64_t microbatch_ = 0;
  MicrobatchPlace place_;
};

/// What of the model and layout shapes the order of instructions.
struct Order {
  std::int64_t blocks;
  /// Blocks 0 .. released - 1 are released after forward and gathered again for backward.
  std::int64_t released;
  std::int64_t embedding;
  std::int64_t first_block;
  std::int64_t head;
  bool tied;
  /// q and k norms are replicated over tp while each rank sees its own heads only.
  bool replicated_gradients;
};

Order order_of(const ModelSpec& model, const Layout& layout) {
  return {.blocks = model.num_hidden_layers,
          .released = model.num_hidden_layers - layout.blocks_kept_gathered,
          .embedding = embedding_unit(model),
          .first_block = block_unit(model, 0),
          .head = head_unit(model),
          .tied = model.tie_word_embeddings,
          .replicated_gradients = model.qk_norm && layout.mesh.sizes[Axis::kTp] > 1};
}

/// Each unit is gathered while the one before it computes.
void emit_forward(Emitter& emit, const Order& order) {
  emit.once([&] {
    emit.gather(order.embedding);
    emit.gather(order.first_block);
    emit.compute(Opcode::kForward, Computation::kEmbedding, order.embedding);
    emit.release(order.embedding);
  });
  const std::int64_t last = order.first_block + order.blocks - 1;
  const std::int64_t first_kept = order.first_block + order.released;
  const auto block = [&](std::int64_t unit) {
    emit.gather(unit == last ? order.head : unit + 1);
    emit.compute(Opcode::kForward, Computation::kBlock, unit);
    if (unit < first_kept) emit.release(unit);
  };
  emit.repeat(order.first_block, 1, order.blocks, block);
}

void emit_backward(Emitter& emit, const Order& order) {
  const std::int64_t last = order.first_block + order.blocks - 1;
  const std::int64_t first_kept = order.first_block + order.released;
  emit.once([&] {
    if (last < first_kept) emit.gather(last);
    emit.compute(Opcode::kLoss, Computation::kHead, order.head);
    emit.release(order.head);
    // A tied gradient is whole only after the embedding's backward pass.
    if (!order.tied) emit.reduce(order.head);
  });
  emit.repeat(last, -1, order.blocks, [&](std::int64_t unit) {
    if (unit > order.first_block && unit - 1 < first_kept) emit.gather(unit - 1);
    emit.compute(Opcode::kBackward, Computation::kBlock, unit);
    emit.release(unit);
    if (order.replicated_gradients) emit.reduce_replicated(unit);
    emit.reduce(unit);
  });
  emit.once([&] {
    emit.compute(Opcode::kBackward, Computation::kEmbedding, order.embedding);
    emit.reduce(order.embedding);
  });
}

}  // namespace

StepProgram build_program(const ModelSpec& model, const Job& job, const Layout& layout) {
  const Order order = order_of(model, layout);
  Emitter emit(unit_count(model), order.first_block, order.blocks);
  StepProgram program;
  if (job.loss_normalization == LossNormalization::kGlobalTokens) {
    emit.once([&] { emit.whole(Opcode::kCountTokens); });
    program.phases.push_back(emit.take_phase());
  }
  const std::int64_t count = layout.accumulation;
  const auto microbatch = [&](std::int64_t index) {
    emit.begin_microbatch(index, count);
    emit_forward(emit, order);
    emit_backward(emit, order);
    return emit.take_phase();
  };
  program.phases.push_back(microbatch(0));
  // The second retires the last reduction of the first, which is unlike the others. All between it
  // and the last are alike, and distances do not depend on how many they are.
  if (count > 2) program.phases.push_back(microbatch(1));
  if (count > 3) {
    program.phases.push_back(microbatch(2));
    program.phases.back().count = count - 3;
  }
  if (count > 1) program.phases.push_back(microbatch(count - 1));
  emit.once([&] {
    emit.whole(Opcode::kGradientNorm);
    if (job.max_grad_norm > 0) emit.whole(Opcode::kClipGradients);
    emit.whole(Opcode::kOptimizerStep);
    emit.whole(Opcode::kReportLoss);
  });
  program.phases.push_back(emit.take_phase());
  return program;
}

}  // namespace meshplan::planner

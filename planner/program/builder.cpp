#include <utility>

#include "planner/model/feed_forward_model.h"
#include "planner/model/parameter_table.h"
#include "planner/program/emitter.h"
#include "planner/program/feed_forward.h"
#include "planner/program/step_program.h"

namespace meshplan::planner {
namespace {

/// What of the model and layout shapes the order of instructions.
struct Order {
  std::int64_t blocks;
  std::int64_t embedding;
  std::int64_t first_block;
  std::int64_t last_block;
  std::int64_t head;
  bool tied;

  /// Units are gathered for each pass of each microbatch; otherwise once a step.
  bool gathers_each_pass;
  /// Gathered copies die after their last use; otherwise they are there all the time.
  bool releases;
  /// Blocks from this unit on stay gathered from forward to backward.
  std::int64_t first_kept;

  /// tp replicates parameters whose gradients each of its ranks computes in parts: all of them
  /// under sequence parallelism, otherwise the q and k norms of its own heads.
  bool replicated_in_blocks;
  bool replicated_in_head;
  bool accumulates_whole;
  bool shards;
  bool replicas;
};

Order order_of(const ModelSpec& model, const Layout& layout) {
  const bool tp = layout.mesh.sizes[Axis::kTp] > 1;
  const bool splits_tokens = tp && layout.sequence_parallel;
  const Sharding sharding = without_replicas(layout.sharding);
  const std::int64_t first_block = block_unit(model, 0);
  return {.blocks = model.num_hidden_layers,
          .embedding = embedding_unit(model),
          .first_block = first_block,
          .last_block = first_block + model.num_hidden_layers - 1,
          .head = head_unit(model),
          .tied = model.tie_word_embeddings,
          .gathers_each_pass = sharding == Sharding::kFullShard,
          .releases = sharding == Sharding::kFullShard || sharding == Sharding::kShardGradOp,
          .first_kept = first_block + model.num_hidden_layers - layout.blocks_kept_gathered,
          .replicated_in_blocks = splits_tokens || (tp && model.qk_norm),
          .replicated_in_head = splits_tokens,
          .accumulates_whole = accumulates_whole_gradients(layout),
          .shards = layout.mesh.sizes[Axis::kDpShard] > 1,
          .replicas = layout.mesh.sizes[Axis::kDpReplicate] > 1};
}

/// Emits one microbatch after the other.
class MicrobatchEmitter {
 public:
  MicrobatchEmitter(Emitter& emit, const Order& order, const Layout& layout)
      : emit_(emit), order_(order), layout_(layout) {}

  /// Each unit is gathered while the one before it computes.
  void forward() {
    emit_.once([&] {
      gather_for_forward(order_.embedding);
      gather_for_forward(order_.first_block);
      emit_.compute(Opcode::kForward, Computation::kEmbedding, order_.embedding);
      // A tied weight is needed again by the head.
      if (order_.gathers_each_pass || !order_.tied) release_after_last_use(order_.embedding);
    });
    emit_.repeat(order_.first_block, 1, order_.blocks, [&](std::int64_t unit) {
      if (unit < order_.last_block) {
        gather_for_forward(unit + 1);
      } else if (order_.gathers_each_pass || !order_.tied) {
        gather_for_forward(order_.head);
      }
      emit_.compute(Opcode::kForward, Computation::kBlock, unit, recompute(unit));
      if (order_.gathers_each_pass && unit < order_.first_kept) emit_.release(unit);
    });
  }

  void backward() {
    emit_.once([&] {
      gather_for_backward(order_.last_block);
      emit_.compute(Opcode::kLoss, Computation::kHead, order_.head);
      release_after_last_use(order_.head);
      // A tied gradient is whole only after the embedding's backward pass.
      if (!order_.tied) reduce(order_.head, order_.replicated_in_head);
    });
    emit_.repeat(order_.last_block, -1, order_.blocks, [&](std::int64_t unit) {
      if (unit > order_.first_block) gather_for_backward(unit - 1);
      emit_.compute(Opcode::kBackward, Computation::kBlock, unit, recompute(unit));
      release_after_last_use(unit);
      reduce(unit, order_.replicated_in_blocks);
    });
    emit_.once([&] {
      emit_.compute(Opcode::kBackward, Computation::kEmbedding, order_.embedding);
      reduce(order_.embedding, order_.tied && order_.replicated_in_head);
    });
    if (sums_replicas()) emit_.once([&] { emit_.sum_replicas_of_last_reduction(); });
  }

 private:
  Recompute recompute(std::int64_t unit) const {
    return recompute_of(layout_, unit - order_.first_block);
  }

  void gather_for_forward(std::int64_t unit) {
    if (order_.gathers_each_pass || emit_.place().first) emit_.gather(unit);
  }

  void gather_for_backward(std::int64_t block) {
    if (order_.gathers_each_pass && block < order_.first_kept) emit_.gather(block);
  }

  void release_after_last_use(std::int64_t unit) {
    if (order_.releases && (order_.gathers_each_pass || emit_.place().last)) emit_.release(unit);
  }

  bool sums_replicas() const { return order_.replicas && emit_.place().last; }

  void reduce(std::int64_t unit, bool replicated) {
    if (replicated) emit_.reduce_replicated(unit);
    if (order_.accumulates_whole && !emit_.place().last) return emit_.accumulate(unit);
    // A reduction over dp_shard is waited for one unit later; without one there is nothing to wait
    // for.
    if (sums_replicas() && order_.shards) emit_.sum_replicas_of_last_reduction();
    emit_.reduce(unit);
    if (sums_replicas() && !order_.shards) emit_.sum_replicas_of_last_reduction();
  }

  Emitter& emit_;
  const Order& order_;
  const Layout& layout_;
};

}  // namespace

StepProgram build_program(const ModelSpec& model, const Job& job, const Layout& layout) {
  if (is_feed_forward(model)) return build_feed_forward_program(job, layout);
  const Order order = order_of(model, layout);
  Emitter emit(unit_count(model), order.first_block, order.blocks);
  MicrobatchEmitter passes(emit, order, layout);
  StepProgram program;
  if (job.loss_normalization == LossNormalization::kGlobalTokens) {
    emit.once([&] { emit.whole(Opcode::kCountTokens); });
    program.phases.push_back(emit.take_phase());
  }
  const std::int64_t count = layout.accumulation;
  const auto microbatch = [&](std::int64_t index) {
    emit.begin_microbatch(index, count);
    passes.forward();
    passes.backward();
    return emit.take_phase();
  };
  program.phases.push_back(microbatch(0));
  // The loss of the second retires the last reduction of the first, which is unlike the others. All
  // between it and the last are alike, and distances do not depend on how many they are.
  if (count > 2) program.phases.push_back(microbatch(1));
  if (count > 3) {
    program.phases.push_back(microbatch(2));
    program.phases.back().count = count - 3;
  }
  if (count > 1) program.phases.push_back(microbatch(count - 1));
  emit.once([&] {
    emit.whole(Opcode::kGradientNorm);
    // In float16 it divides by the loss scale, too.
    if (job.max_grad_norm > 0 || job.param_dtype == common::DataType::kFloat16)
      emit.whole(Opcode::kClipGradients);
    emit.whole(Opcode::kOptimizerStep);
    emit.whole(Opcode::kReportLoss);
  });
  program.phases.push_back(emit.take_phase());
  return program;
}

}  // namespace meshplan::planner

#include <array>
#include <optional>

#include "planner/layout/stage.h"
#include "planner/model/feed_forward_model.h"
#include "planner/model/parameter_table.h"
#include "planner/program/emitter.h"
#include "planner/program/feed_forward.h"
#include "planner/program/step_context.h"
#include "planner/program/step_program.h"

namespace meshplan::planner {
namespace {

/// What of the model and layout shapes the order of instructions.
struct Order {
  Stage stage;
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
  /// under sequence parallelism, otherwise the q and k norms of its own heads, and routers.
  bool replicated_in_blocks;
  bool replicated_in_head;
  bool replicated_in_embedding;
  bool accumulates_whole;
  bool shards;
  bool replicas;
};

Order order_of(const ModelSpec& model, const Layout& layout, const Stage& stage) {
  const bool tp = layout.mesh.sizes[Axis::kTp] > 1;
  const bool splits_tokens = tp && layout.sequence_parallel;
  const bool parts_by_columns = tp && (model.qk_norm || model.moe.num_experts > 0);
  const bool embeds_more =
      model.tie_word_embeddings || model.embedding_norm || model.embedding_size > 0;
  const Sharding sharding = without_replicas(layout.sharding);
  const std::int64_t first_block = block_unit(model, stage.first_block);
  return {.stage = stage,
          .embedding = embedding_unit(model),
          .first_block = first_block,
          .last_block = first_block + stage.blocks - 1,
          .head = head_unit(model),
          .tied = model.tie_word_embeddings,
          .gathers_each_pass = sharding == Sharding::kFullShard,
          .releases = sharding == Sharding::kFullShard || sharding == Sharding::kShardGradOp,
          .first_kept = first_block + stage.blocks - layout.blocks_kept_gathered,
          .replicated_in_blocks = splits_tokens || parts_by_columns,
          .replicated_in_head = splits_tokens,
          .replicated_in_embedding = splits_tokens && embeds_more,
          .accumulates_whole = accumulates_whole_gradients(layout),
          .shards = sharding_ranks(layout.mesh) > 1,
          .replicas = layout.mesh.sizes[Axis::kDpReplicate] > 1};
}

/// Units of the stage's blocks that are unlike the model's first block.
std::vector<std::int64_t> other_blocks(const ModelSpec& model, const Stage& stage) {
  std::vector<std::int64_t> units;
  for (std::int64_t block = stage.first_block; block < stage.first_block + stage.blocks; ++block) {
    if (is_moe_block(model, block) != is_moe_block(model, 0))
      units.push_back(block_unit(model, block));
  }
  return units;
}

/// Emits the passes of one microbatch after the other.
class PassEmitter {
 public:
  PassEmitter(Emitter& emit, const Order& order, const Layout& layout)
      : emit_(emit), order_(order), layout_(layout) {}

  /// Each unit is gathered while the one before it computes.
  void forward() {
    emit_.once([&] {
      if (order_.stage.is_first()) {
        emit_.gather(order_.embedding);
        emit_.gather(order_.first_block);
        emit_.compute(Opcode::kForward, Computation::kEmbedding, order_.embedding);
        // A tied weight is needed again by the head.
        if (order_.gathers_each_pass || !order_.tied) release_after_last_use(order_.embedding);
      } else {
        emit_.gather(order_.first_block);
        emit_.transfer(Opcode::kReceiveActivations, Computation::kEmbedding);
      }
    });
    emit_.repeat(order_.first_block, 1, order_.stage.blocks, [&](std::int64_t unit) {
      if (unit < order_.last_block) {
        emit_.gather(unit + 1);
      } else if (order_.stage.is_last()) {
        emit_.gather(order_.head);
      }
      emit_.compute(Opcode::kForward, Computation::kBlock, unit, recompute(unit));
      if (order_.gathers_each_pass && unit < order_.first_kept) emit_.release(unit);
    });
    if (!order_.stage.is_last()) {
      emit_.once([&] { emit_.transfer(Opcode::kSendActivations, Computation::kHead); });
    }
  }

  void backward() {
    emit_.once([&] {
      emit_.gather(order_.last_block);
      if (!order_.stage.is_last())
        return emit_.transfer(Opcode::kReceiveActivations, Computation::kHead);
      emit_.compute(Opcode::kLoss, Computation::kHead, order_.head);
      release_after_last_use(order_.head);
      // A tied gradient is whole only after the embedding's backward pass.
      if (!order_.tied) reduce(order_.head, order_.replicated_in_head);
    });
    emit_.repeat(order_.last_block, -1, order_.stage.blocks, [&](std::int64_t unit) {
      if (unit > order_.first_block) emit_.gather(unit - 1);
      emit_.compute(Opcode::kBackward, Computation::kBlock, unit, recompute(unit));
      release_after_last_use(unit);
      reduce(unit, order_.replicated_in_blocks);
    });
    emit_.once([&] {
      if (!order_.stage.is_first())
        return emit_.transfer(Opcode::kSendActivations, Computation::kEmbedding);
      emit_.compute(Opcode::kBackward, Computation::kEmbedding, order_.embedding);
      reduce(order_.embedding, order_.replicated_in_embedding);
    });
    if (sums_replicas()) emit_.once([&] { emit_.sum_replicas_of_last_reduction(); });
  }

 private:
  Recompute recompute(std::int64_t unit) const {
    return recompute_of(layout_, unit - order_.first_block + order_.stage.first_block);
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

/// Which passes alternate in a run of the schedule, and the microbatches that they begin with.
struct Run {
  std::int64_t length = 0;
  std::optional<std::int64_t> forward;
  std::optional<std::int64_t> backward;
};

/// One forward, one backward: as many forward passes ahead as there are stages behind (Narayanan et
/// al. 2021, arXiv 2104.04473, figure 4). Without a pipeline nothing is ahead.
std::array<Run, 3> schedule(const Stage& stage, std::int64_t accumulation) {
  const std::int64_t ahead = warm_up_microbatches(stage, accumulation);
  return {Run{.length = ahead, .forward = 0, .backward = {}},
          Run{.length = accumulation - ahead, .forward = ahead, .backward = 0},
          Run{.length = ahead, .forward = {}, .backward = accumulation - ahead}};
}

}  // namespace

StepProgram build_program(const ModelSpec& whole, const Job& job, const Layout& layout,
                          std::int64_t stage_index) {
  if (is_feed_forward(whole)) return build_feed_forward_program(job, layout);
  const ModelSpec model = as_stages_hold_it(whole, layout);
  const Stage stage = stage_at(model, layout, stage_index);
  const Order order = order_of(model, layout, stage);
  Emitter emit(unit_count(model), order.first_block, stage.blocks, other_blocks(model, stage));
  PassEmitter passes(emit, order, layout);
  StepProgram program;
  if (job.loss_normalization == LossNormalization::kGlobalTokens) {
    emit.once([&] { emit.whole(Opcode::kCountTokens); });
    program.phases.push_back(emit.take_phase());
  }
  for (const Run& run : schedule(stage, layout.accumulation)) {
    emit.microbatches(program, run.length, [&](std::int64_t index) {
      if (run.forward) {
        emit.begin_microbatch(*run.forward + index, layout.accumulation);
        passes.forward();
      }
      if (run.backward) {
        emit.begin_microbatch(*run.backward + index, layout.accumulation);
        passes.backward();
      }
    });
  }
  const bool ties = whole.tie_word_embeddings && !model.tie_word_embeddings;
  if (ties && (stage.is_first() || stage.is_last())) {
    emit.once([&] { emit.reduce_tied(stage.is_first() ? order.embedding : order.head); });
    program.phases.push_back(emit.take_phase());
  }
  emit.epilogue(program, job);
  return program;
}

}  // namespace meshplan::planner

#include <algorithm>
#include <optional>
#include <vector>

#include "planner/layout/stage.h"
#include "planner/model/feed_forward_model.h"
#include "planner/model/parameter_table.h"
#include "planner/program/emitter.h"
#include "planner/program/feed_forward.h"
#include "planner/program/schedule.h"
#include "planner/program/step_context.h"
#include "planner/program/step_program.h"

namespace meshplan::planner {
namespace {

/// Where a chunk of the stage's blocks begins and ends.
struct ChunkOrder {
  std::int64_t first_block;
  std::int64_t last_block;
  /// Blocks from this unit on stay gathered from forward to backward.
  std::int64_t first_kept;
  /// It comes after the embedding, or before the head, and not between transfers.
  bool is_first;
  bool is_last;

  std::int64_t blocks() const { return last_block - first_block + 1; }
};

/// What of the model and layout shapes the order of instructions.
struct Order {
  Stage stage;
  std::vector<ChunkOrder> chunks;
  std::int64_t embedding;
  /// The model's first block, whatever stage has it.
  std::int64_t first_of_model;
  std::int64_t head;
  bool tied;

  /// Units are gathered for each pass of each microbatch; otherwise once a step.
  bool gathers_each_pass;
  /// Gathered copies die after their last use; otherwise they are there all the time.
  bool releases;

  /// tp replicates parameters whose gradients each of its ranks computes in parts: all of them
  /// under sequence parallelism, otherwise the q and k norms of its own heads, and routers.
  bool replicated_in_blocks;
  bool replicated_in_head;
  bool replicated_in_embedding;
  bool accumulates_whole;
  bool shards;
  bool replicas;
};

std::vector<ChunkOrder> chunk_orders(const ModelSpec& model, const Layout& layout,
                                     const Stage& stage) {
  std::vector<ChunkOrder> orders;
  for (const Chunk& chunk : chunks_of(model, layout, stage.index)) {
    const std::int64_t first = block_unit(model, chunk.first_block);
    orders.push_back({.first_block = first,
                      .last_block = first + chunk.blocks - 1,
                      .first_kept = first + chunk.blocks - layout.blocks_kept_gathered,
                      .is_first = stage.is_first() && orders.empty(),
                      .is_last = false});
  }
  orders.back().is_last = stage.is_last();
  return orders;
}

Order order_of(const ModelSpec& model, const Layout& layout, const Stage& stage) {
  const bool tp = layout.mesh.sizes[Axis::kTp] > 1;
  const bool splits_tokens = tp && layout.sequence_parallel;
  const bool parts_by_columns = tp && (model.qk_norm || model.moe.num_experts > 0);
  const bool embeds_more =
      model.tie_word_embeddings || model.embedding_norm || model.embedding_size > 0;
  const Sharding sharding = without_replicas(layout.sharding);
  return {.stage = stage,
          .chunks = chunk_orders(model, layout, stage),
          .embedding = embedding_unit(model),
          .first_of_model = block_unit(model, 0),
          .head = head_unit(model),
          .tied = model.tie_word_embeddings,
          .gathers_each_pass = sharding == Sharding::kFullShard,
          .releases = sharding == Sharding::kFullShard || sharding == Sharding::kShardGradOp,
          .replicated_in_blocks = splits_tokens || parts_by_columns,
          .replicated_in_head = splits_tokens,
          .replicated_in_embedding = splits_tokens && embeds_more,
          .accumulates_whole = accumulates_whole_gradients(layout),
          .shards = sharding_ranks(layout.mesh) > 1,
          .replicas = layout.mesh.sizes[Axis::kDpReplicate] > 1};
}

/// Units of the blocks that are unlike the model's first.
std::vector<std::int64_t> other_blocks(const ModelSpec& model) {
  std::vector<std::int64_t> units;
  for (std::int64_t block = 0; block < model.num_hidden_layers; ++block) {
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

  /// Each unit is gathered while one before it computes, or the stage waits for its input.
  void forward(const Pass& pass) {
    const ChunkOrder& chunk = begin(pass);
    emit_.once([&] {
      if (chunk.is_first) {
        emit_.gather(order_.embedding);
        gather_blocks(chunk.first_block, 1, chunk.blocks(), ahead());
        emit_.compute(Opcode::kForward, Computation::kEmbedding, order_.embedding);
        // A tied weight is needed again by the head.
        if (order_.gathers_each_pass || !order_.tied) release_after_last_use(order_.embedding);
      } else {
        gather_blocks(chunk.first_block, 1, chunk.blocks(), ahead() + 1);
        emit_.transfer(Opcode::kReceiveActivations, Computation::kEmbedding);
      }
    });
    emit_.repeat(chunk.first_block, 1, chunk.blocks(), [&](std::int64_t unit) {
      if (unit + ahead() <= chunk.last_block) {
        emit_.gather(unit + ahead());
      } else if (chunk.is_last) {
        emit_.gather(order_.head);
      }
      emit_.compute(Opcode::kForward, Computation::kBlock, unit, recompute(unit));
      if (order_.gathers_each_pass && unit < chunk.first_kept) emit_.release(unit);
    });
    if (!chunk.is_last) {
      emit_.once([&] { emit_.transfer(Opcode::kSendActivations, Computation::kHead); });
    }
  }

  void backward(const Pass& pass) {
    const ChunkOrder& chunk = begin(pass);
    emit_.once([&] {
      if (!chunk.is_last) {
        gather_blocks(chunk.last_block, -1, chunk.blocks(), ahead() + 1);
        return emit_.transfer(Opcode::kReceiveActivations, Computation::kHead);
      }
      emit_.gather(order_.head);
      gather_blocks(chunk.last_block, -1, chunk.blocks(), ahead());
      emit_.compute(Opcode::kLoss, Computation::kHead, order_.head);
      release_after_last_use(order_.head);
      // A tied gradient is whole only after the embedding's backward pass.
      if (!order_.tied) reduce(order_.head, order_.replicated_in_head);
    });
    emit_.repeat(chunk.last_block, -1, chunk.blocks(), [&](std::int64_t unit) {
      if (unit - ahead() >= chunk.first_block) emit_.gather(unit - ahead());
      emit_.compute(Opcode::kBackward, Computation::kBlock, unit, recompute(unit));
      // The stage before waits for it; the reduction may wait for the one before.
      if (unit == chunk.first_block && !chunk.is_first)
        emit_.transfer(Opcode::kSendActivations, Computation::kEmbedding);
      release_after_last_use(unit);
      reduce(unit, order_.replicated_in_blocks);
    });
    if (chunk.is_first) {
      emit_.once([&] {
        emit_.compute(Opcode::kBackward, Computation::kEmbedding, order_.embedding);
        reduce(order_.embedding, order_.replicated_in_embedding);
      });
    }
    if (sums_replicas()) emit_.once([&] { emit_.sum_replicas_of_last_reduction(); });
  }

 private:
  const ChunkOrder& begin(const Pass& pass) {
    emit_.begin_microbatch(pass.microbatch, layout_.accumulation, pass.chunk);
    return order_.chunks[static_cast<std::size_t>(pass.chunk)];
  }

  std::int64_t ahead() const { return layout_.prefetch_depth; }

  /// The first `count` of so many blocks. One more than are gathered ahead may be held at once, so
  /// they are there when the stage's input arrives.
  void gather_blocks(std::int64_t first, std::int64_t stride, std::int64_t blocks,
                     std::int64_t count) {
    for (std::int64_t i = 0; i < std::min(count, blocks); ++i) emit_.gather(first + i * stride);
  }

  Recompute recompute(std::int64_t unit) const {
    return recompute_of(layout_, unit - order_.first_of_model);
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

/// One forward, one backward. Without a pipeline nothing is ahead.
void emit_plain_passes(StepProgram& program, Emitter& emit, PassEmitter& passes, const Stage& stage,
                       const Layout& layout) {
  const std::int64_t ahead = warm_up_passes(stage, layout);
  const std::int64_t pairs = layout.accumulation - ahead;
  for (const Run& run : {Run{.length = ahead, .forward = 0, .backward = {}},
                         Run{.length = pairs, .forward = ahead, .backward = 0},
                         Run{.length = ahead, .forward = {}, .backward = pairs}}) {
    emit.microbatches(program, run.length, [&](std::int64_t index) {
      if (run.forward) passes.forward({.microbatch = *run.forward + index});
      if (run.backward) passes.backward({.microbatch = *run.backward + index});
    });
  }
}

void emit_interleaved_passes(StepProgram& program, Emitter& emit, PassEmitter& passes,
                             const Stage& stage, const Layout& layout) {
  for (const Period& period : interleaved_schedule(stage, layout)) {
    for (const Slot& slot : period.slots) {
      if (slot.forward) passes.forward(*slot.forward);
      if (slot.backward) passes.backward(*slot.backward);
    }
    program.phases.push_back(emit.take_phase());
    program.phases.back().count = period.count;
    program.phases.back().microbatch_stride = period.microbatch_stride;
  }
}

}  // namespace

StepProgram build_program(const ModelSpec& whole, const Job& job, const Layout& layout,
                          std::int64_t stage_index) {
  if (is_feed_forward(whole)) return build_feed_forward_program(job, layout);
  const ModelSpec model = as_stages_hold_it(whole, layout);
  const Stage stage = stage_at(model, layout, stage_index);
  const Order order = order_of(model, layout, stage);
  Emitter emit(unit_count(model), order.first_of_model, model.num_hidden_layers,
               other_blocks(model));
  PassEmitter passes(emit, order, layout);
  StepProgram program;
  if (job.loss_normalization == LossNormalization::kGlobalTokens) {
    emit.once([&] { emit.whole(Opcode::kCountTokens); });
    program.phases.push_back(emit.take_phase());
  }
  if (layout.virtual_stages == 1) {
    emit_plain_passes(program, emit, passes, stage, layout);
  } else {
    emit_interleaved_passes(program, emit, passes, stage, layout);
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

#include <algorithm>
#include <cmath>
#include <limits>

#include "planner/layout/stage.h"
#include "planner/program/schedule.h"
#include "planner/search/bounds.h"

// What stages hold at least, and what is computed twice for want of room.

namespace meshplan::planner {
namespace {

/// Passes through chunks of blocks between their forward and their backward, at their most.
std::int64_t chunks_under_way(const Layout& layout, const Stage& stage) {
  return std::min(layout.accumulation * layout.virtual_stages, warm_up_passes(stage, layout) + 1);
}

/// A chunk of a stage, and its forward passes when the first backward pass begins.
struct ChunkUnderWay {
  std::int64_t first_block = 0;
  std::int64_t blocks = 0;
  double passes = 0;

  double block_passes() const { return static_cast<double>(blocks) * passes; }
};

/// In the order of the model's blocks.
template <class Body>
void each_chunk_under_way(const ModelSpec& model, const Layout& layout, const Stage& stage,
                          const Body& body) {
  const std::int64_t passes = chunks_under_way(layout, stage);
  // Of one chunk as many follow one another as there are stages.
  const std::int64_t round = stage.count * layout.virtual_stages;
  for (std::int64_t k = 0; k < layout.virtual_stages; ++k) {
    const std::int64_t in_turn =
        passes / round * stage.count +
        std::clamp<std::int64_t>(passes % round - k * stage.count, 0, stage.count);
    const Chunk chunk = chunk_at(model.num_hidden_layers, round, k * stage.count + stage.index);
    body(ChunkUnderWay{chunk.first_block, chunk.blocks,
                       static_cast<double>(layout.virtual_stages > 1 ? in_turn : passes)});
  }
}

/// Whether each of the stage's chunks ends a backward pass before as many passes as ever are under
/// way for the last time.
bool all_have_gradients(const Layout& layout, const Stage& stage) {
  const std::int64_t pairs =
      layout.accumulation * layout.virtual_stages - chunks_under_way(layout, stage);
  return pairs >= (layout.virtual_stages == 1 ? 1 : stage.count * layout.virtual_stages);
}

/// Blocks' forward passes then.
struct BlocksUnderWay {
  double passes = 0;
  /// Of the block with most of them.
  double most_of_block = 0;
};

BlocksUnderWay blocks_under_way(const ModelSpec& model, const Layout& layout, const Stage& stage) {
  BlocksUnderWay blocks;
  each_chunk_under_way(model, layout, stage, [&](const ChunkUnderWay& chunk) {
    blocks.passes += chunk.block_passes();
    blocks.most_of_block = std::max(blocks.most_of_block, chunk.passes);
  });
  return blocks;
}

bool keeps_whole(Sharding sharding) {
  return sharding == Sharding::kShardOptimizer || sharding == Sharding::kNoShard;
}

}  // namespace

common::Bytes LayoutBounds::memory(const Layout& layout) {
  return memory(layout,
                static_cast<double>(input_elements(layout) * common::size_of(job_.param_dtype)));
}

common::Bytes LayoutBounds::memory_as_checkpointed(const Layout& layout) {
  if (!bounds_model_ || other_block_ != 0) return memory(layout);
  const Saving& saving = saving_of(layout);
  switch (layout.activation_checkpointing) {
    case ActivationCheckpointing::kNone:
      return memory(layout, saving.saved);
    case ActivationCheckpointing::kSelective:
      return memory(layout, saving.ways[0].saved);
    case ActivationCheckpointing::kFull:
      return memory(layout, saving.ways[1].saved);
  }
  return memory(layout);
}

common::Bytes LayoutBounds::memory(const Layout& layout, double saved) {
  if (!bounds_model_) return {};
  std::int64_t highest = 0;
  const std::int64_t stages = layout.mesh.sizes[Axis::kPp];
  for (const std::int64_t index : {std::int64_t{0}, std::min<std::int64_t>(1, stages - 1)}) {
    const Stage stage = stage_at(model_, layout, index);
    const auto saved_by = [&](double passes) { return static_cast<std::int64_t>(passes * saved); };
    // Without a pipeline's chunks in turn, most may be held in the loss.
    const std::int64_t gradient =
        layout.virtual_stages > 1 ? elements_of(layout).block * common::size_of(job_.param_dtype)
                                  : 0;
    const std::int64_t gathered = gathered_bytes(layout, stage) + gradient;
    // When the first backward pass begins.
    std::int64_t most = saved_by(blocks_under_way(model_, layout, stage).passes) + gathered;
    // When all chunks have had one, and as many passes are under way.
    if (all_have_gradients(layout, stage)) {
      const std::int64_t passes =
          chunks_under_way(layout, stage) * (stage.blocks / layout.virtual_stages);
      most = std::max(most, saved_by(static_cast<double>(passes)) + gathered +
                                accumulated_bytes(layout, stage));
    }
    const std::int64_t gradients =
        slice_elements(layout, stage) * common::size_of(job_.reduce_dtype);
    highest = std::max(highest, state_bytes(layout, stage) + std::max(most, gradients));
  }
  return common::Bytes(highest);
}

std::int64_t LayoutBounds::sharded(const Layout& layout, std::int64_t elements,
                                   std::int64_t experts) const {
  const std::int64_t shards = sharding_ranks(layout.mesh);
  return (elements - experts) / shards + experts / (shards / layout.mesh.expert_parallel);
}

std::int64_t LayoutBounds::held_elements(const Layout& layout, const Stage& stage) {
  const Elements& elements = elements_of(layout);
  return stage.blocks * elements.block + (stage.is_first() ? elements.embedding : 0) +
         (stage.is_last() ? elements.head : 0);
}

std::int64_t LayoutBounds::slice_elements(const Layout& layout, const Stage& stage) {
  return sharded(layout, held_elements(layout, stage),
                 stage.blocks * elements_of(layout).block_experts);
}

std::int64_t LayoutBounds::gathered_bytes(const Layout& layout, const Stage& stage) {
  const Sharding sharding = without_replicas(layout.sharding);
  if (sharding_ranks(layout.mesh) == 1 || keeps_whole(sharding)) return 0;
  const Elements& elements = elements_of(layout);
  std::int64_t blocks = 1;
  if (sharding != Sharding::kFullShard) {
    blocks = 0;
    each_chunk_under_way(model_, layout, stage, [&](const ChunkUnderWay& chunk) {
      blocks += chunk.passes > 0 ? chunk.blocks : 0;
    });
  }
  // In the loss; of chunks in turn the last one may not have begun.
  const std::int64_t head = stage.is_last() && layout.virtual_stages == 1 ? elements.head : 0;
  return (blocks * elements.block + head) * common::size_of(job_.param_dtype);
}

std::int64_t LayoutBounds::accumulated_bytes(const Layout& layout, const Stage& stage) {
  const bool whole = accumulates_whole_gradients(layout);
  return (whole ? held_elements(layout, stage) : slice_elements(layout, stage)) *
         common::size_of(job_.reduce_dtype);
}

std::int64_t LayoutBounds::state_bytes(const Layout& layout, const Stage& stage) {
  const std::int64_t param_size = common::size_of(job_.param_dtype);
  const std::int64_t master_size = common::size_of(job_.master_dtype);
  const std::int64_t slice = slice_elements(layout, stage);
  const std::int64_t held = held_elements(layout, stage);
  const bool whole = keeps_whole(layout.sharding);
  if (layout.optimizer_offload) return (whole ? held : slice) * param_size;
  const std::int64_t copies = whole && param_size != master_size ? held * param_size : 0;
  const std::int64_t masters = (whole && copies == 0 ? held : slice) * master_size;
  return copies + masters + 2 * slice * common::size_of(moment_dtype(job_));
}

double LayoutBounds::room_for_activations(const Layout& layout, const Stage& stage) {
  return static_cast<double>((cluster_.device.memory - cluster_.reserved_memory).value -
                             state_bytes(layout, stage));
}

std::int64_t LayoutBounds::least_checkpointed(const Layout& layout) {
  const bool checkpoints = layout.activation_checkpointing != ActivationCheckpointing::kNone;
  if (!bounds_model_ || other_block_ != 0 || !checkpoints) return 0;
  const Saving& saving = saving_of(layout);
  const bool full = layout.activation_checkpointing == ActivationCheckpointing::kFull;
  const double freed = saving.saved - saving.ways[full ? 1 : 0].saved;
  std::int64_t least = 0;
  for (const std::int64_t index : {std::int64_t{0}, std::int64_t{1}}) {
    if (index >= layout.mesh.sizes[Axis::kPp]) break;
    const Stage stage = stage_at(model_, layout, index);
    double lacking = blocks_under_way(model_, layout, stage).passes * saving.saved -
                     room_for_activations(layout, stage);
    std::int64_t needed = 0;
    each_chunk_under_way(model_, layout, stage, [&](const ChunkUnderWay& chunk) {
      if (lacking <= 0) return;
      const double blocks =
          std::min(std::ceil(lacking / (chunk.passes * freed)), static_cast<double>(chunk.blocks));
      needed = chunk.first_block + static_cast<std::int64_t>(blocks);
      lacking -= blocks * chunk.passes * freed;
    });
    least = std::max(least, needed);
  }
  return least;
}

double LayoutBounds::least_recompute_time(const Layout& layout, const Stage& stage) {
  if (other_block_ != 0) return 0;
  const Saving& saving = saving_of(layout);
  const BlocksUnderWay under_way = blocks_under_way(model_, layout, stage);
  const double lacking = under_way.passes * saving.saved - room_for_activations(layout, stage);
  if (lacking <= 0) return 0;
  double least = std::numeric_limits<double>::infinity();
  for (const Saving::Way& way : saving.ways) {
    const double freed = under_way.most_of_block * (saving.saved - way.saved);
    if (lacking <= under_way.passes * (saving.saved - way.saved))
      least = std::min(least, lacking / freed * way.recompute);
  }
  return std::isinf(least) ? 0 : std::max(0.0, least);
}

}  // namespace meshplan::planner

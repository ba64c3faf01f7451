#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

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

std::vector<ChunkUnderWay> chunks_with_passes(const ModelSpec& model, const Layout& layout,
                                              const Stage& stage) {
  const std::int64_t passes = chunks_under_way(layout, stage);
  // Of one chunk as many follow one another as there are stages.
  const std::int64_t round = stage.count * layout.virtual_stages;
  std::vector<ChunkUnderWay> chunks;
  for (const Chunk& chunk : chunks_of(model, layout, stage.index)) {
    const std::int64_t before = std::ssize(chunks) * stage.count;
    const std::int64_t in_turn = passes / round * stage.count +
                                 std::clamp<std::int64_t>(passes % round - before, 0, stage.count);
    chunks.push_back({chunk.first_block, chunk.blocks,
                      static_cast<double>(layout.virtual_stages > 1 ? in_turn : passes)});
  }
  return chunks;
}

/// Blocks' forward passes then.
struct BlocksUnderWay {
  double passes = 0;
  /// Of the block with most of them.
  double most_of_block = 0;
};

BlocksUnderWay blocks_under_way(const ModelSpec& model, const Layout& layout, const Stage& stage) {
  BlocksUnderWay blocks;
  for (const ChunkUnderWay& chunk : chunks_with_passes(model, layout, stage)) {
    blocks.passes += chunk.block_passes();
    blocks.most_of_block = std::max(blocks.most_of_block, chunk.passes);
  }
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
    const auto activations =
        static_cast<std::int64_t>(blocks_under_way(model_, layout, stage).passes * saved);
    const std::int64_t gradients =
        slice_elements(layout, stage) * common::size_of(job_.reduce_dtype);
    const std::int64_t beside = bytes_beside_activations(layout, stage);
    highest =
        std::max(highest, state_bytes(layout, stage) + std::max(activations + beside, gradients));
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

std::int64_t LayoutBounds::bytes_beside_activations(const Layout& layout, const Stage& stage) {
  const Elements& elements = elements_of(layout);
  const Sharding sharding = without_replicas(layout.sharding);
  const bool interleaved = layout.virtual_stages > 1;
  // Of chunks in turn, others may not have begun, or have ended.
  const std::int64_t in_chunk = stage.blocks / layout.virtual_stages;
  std::int64_t bytes = 0;
  if (sharding_ranks(layout.mesh) > 1 && !keeps_whole(sharding)) {
    // At the end of the forward pass, or in the loss.
    const std::int64_t blocks = sharding == Sharding::kFullShard ? 1 : in_chunk;
    const std::int64_t head = stage.is_last() && !interleaved ? elements.head : 0;
    bytes += (blocks * elements.block + head) * common::size_of(job_.param_dtype);
  }
  if (layout.accumulation * layout.virtual_stages > chunks_under_way(layout, stage)) {
    const std::int64_t held =
        interleaved ? in_chunk * elements.block : held_elements(layout, stage);
    const std::int64_t experts = (interleaved ? in_chunk : stage.blocks) * elements.block_experts;
    const bool whole = accumulates_whole_gradients(layout);
    bytes += (whole ? held : sharded(layout, held, experts)) * common::size_of(job_.reduce_dtype);
  }
  return bytes;
}

std::int64_t LayoutBounds::state_bytes(const Layout& layout, const Stage& stage) {
  const std::int64_t param_size = common::size_of(job_.param_dtype);
  const std::int64_t master_size = common::size_of(job_.master_dtype);
  const std::int64_t slice = slice_elements(layout, stage);
  if (layout.optimizer_offload) return slice * param_size;
  const std::int64_t held = held_elements(layout, stage);
  const bool whole = keeps_whole(layout.sharding);
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
    double lacking = -room_for_activations(layout, stage);
    const std::vector<ChunkUnderWay> chunks = chunks_with_passes(model_, layout, stage);
    for (const ChunkUnderWay& chunk : chunks) lacking += chunk.block_passes() * saving.saved;
    std::int64_t needed = 0;
    for (const ChunkUnderWay& chunk : chunks) {
      if (lacking <= 0) break;
      const double blocks =
          std::min(std::ceil(lacking / (chunk.passes * freed)), static_cast<double>(chunk.blocks));
      needed = chunk.first_block + static_cast<std::int64_t>(blocks);
      lacking -= blocks * chunk.passes * freed;
    }
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

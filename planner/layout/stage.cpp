#include "planner/layout/stage.h"

#include <algorithm>

namespace meshplan::planner {

Chunk chunk_at(std::int64_t blocks, std::int64_t count, std::int64_t index) {
  const std::int64_t even = blocks / count;
  const std::int64_t larger = blocks % count;
  const std::int64_t larger_before = std::clamp<std::int64_t>(index - 1, 0, larger);
  const bool is_larger = index >= 1 && index <= larger;
  return {.first_block = index * even + larger_before, .blocks = even + (is_larger ? 1 : 0)};
}

std::vector<Chunk> chunks_of(const ModelSpec& model, const Layout& layout, std::int64_t index) {
  const std::int64_t stages = layout.mesh.sizes[Axis::kPp];
  std::vector<Chunk> chunks;
  for (std::int64_t chunk = 0; chunk < layout.virtual_stages; ++chunk)
    chunks.push_back(
        chunk_at(model.num_hidden_layers, stages * layout.virtual_stages, chunk * stages + index));
  return chunks;
}

Stage stage_at(const ModelSpec& model, const Layout& layout, std::int64_t index) {
  const std::int64_t stages = layout.mesh.sizes[Axis::kPp];
  const std::int64_t count = stages * layout.virtual_stages;
  Stage stage{.index = index,
              .count = stages,
              .first_block = chunk_at(model.num_hidden_layers, count, index).first_block,
              .blocks = 0};
  for (std::int64_t chunk = index; chunk < count; chunk += stages)
    stage.blocks += chunk_at(model.num_hidden_layers, count, chunk).blocks;
  return stage;
}

std::vector<Stage> stages_of(const ModelSpec& model, const Layout& layout) {
  std::vector<Stage> stages;
  for (std::int64_t index = 0; index < layout.mesh.sizes[Axis::kPp]; ++index)
    stages.push_back(stage_at(model, layout, index));
  return stages;
}

ChunkPlace previous_chunk(ChunkPlace place, std::int64_t stages) {
  if (place.stage > 0) return {place.stage - 1, place.chunk};
  return {stages - 1, place.chunk - 1};
}

ChunkPlace next_chunk(ChunkPlace place, std::int64_t stages) {
  if (place.stage + 1 < stages) return {place.stage + 1, place.chunk};
  return {0, place.chunk + 1};
}

}  // namespace meshplan::planner

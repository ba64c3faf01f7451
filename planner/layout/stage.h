#pragma once

#include <cstdint>
#include <vector>

#include "planner/layout/layout.h"
#include "planner/model/model_spec.h"

namespace meshplan::planner {

/// What the ranks at one place of the pp axis hold: blocks, the first stage the embedding, the last
/// one final norm and head as well.
struct Stage {
  std::int64_t index = 0;
  std::int64_t count = 1;
  /// Of its first chunk.
  std::int64_t first_block = 0;
  /// Of all its chunks.
  std::int64_t blocks = 0;

  bool is_first() const { return index == 0; }
  bool is_last() const { return index + 1 == count; }
  bool operator==(const Stage&) const = default;
};

/// Consecutive blocks of a stage.
struct Chunk {
  std::int64_t first_block = 0;
  std::int64_t blocks = 0;

  bool operator==(const Chunk&) const = default;
};

/// Number `index` of the `count` chunks that so many blocks are divided into, as evenly as can be;
/// where they do not divide, those after the first hold one more, so that embedding and head come
/// on top of the smaller ones. Requires 0 <= index < count <= blocks.
Chunk chunk_at(std::int64_t blocks, std::int64_t count, std::int64_t index);

/// The stage's chunks, as many as the layout has virtual stages: chunk c of stage s is number c x
/// pp + s of all. Requires 0 <= index < pp, and pp x virtual_stages <= num_hidden_layers.
std::vector<Chunk> chunks_of(const ModelSpec& model, const Layout& layout, std::int64_t index);

/// All chunks of a stage together.
Stage stage_at(const ModelSpec& model, const Layout& layout, std::int64_t index);

/// All stages, in the order of the pp axis.
std::vector<Stage> stages_of(const ModelSpec& model, const Layout& layout);

/// A chunk of a stage.
struct ChunkPlace {
  std::int64_t stage = 0;
  std::int64_t chunk = 0;

  bool operator==(const ChunkPlace&) const = default;
};

/// Where a chunk's activations come from and where its own go, over so many stages: from the last
/// stage on to the first one's next chunk. Requires that there is one.
ChunkPlace previous_chunk(ChunkPlace place, std::int64_t stages);
ChunkPlace next_chunk(ChunkPlace place, std::int64_t stages);

}  // namespace meshplan::planner

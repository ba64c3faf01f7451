#include "planner/layout/stage.h"

#include <algorithm>

namespace meshplan::planner {

Stage stage_at(const ModelSpec& model, const Layout& layout, std::int64_t index) {
  const std::int64_t count = layout.mesh.sizes[Axis::kPp];
  const std::int64_t even = model.num_hidden_layers / count;
  const std::int64_t larger = model.num_hidden_layers % count;
  const std::int64_t larger_before = std::clamp<std::int64_t>(index - 1, 0, larger);
  const bool is_larger = index >= 1 && index <= larger;
  return {.index = index,
          .count = count,
          .first_block = index * even + larger_before,
          .blocks = even + (is_larger ? 1 : 0)};
}

std::vector<Stage> stages_of(const ModelSpec& model, const Layout& layout) {
  std::vector<Stage> stages;
  for (std::int64_t index = 0; index < layout.mesh.sizes[Axis::kPp]; ++index)
    stages.push_back(stage_at(model, layout, index));
  return stages;
}

std::int64_t warm_up_microbatches(const Stage& stage, std::int64_t accumulation) {
  return std::min(stage.count - 1 - stage.index, accumulation);
}

}  // namespace meshplan::planner

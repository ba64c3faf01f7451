#include "planner/search/fit.h"

#include <algorithm>

#include "planner/cost/estimate.h"
#include "planner/layout/stage.h"

namespace meshplan::planner {
namespace {

/// The least number in [from, to] that something holds for, which holds for `to` and for all after
/// one that it holds for.
template <class Holds>
std::int64_t first_that(std::int64_t from, std::int64_t to, const Holds& holds) {
  while (from < to) {
    const std::int64_t middle = from + (to - from) / 2;
    if (holds(middle)) {
      to = middle;
    } else {
      from = middle + 1;
    }
  }
  return to;
}

}  // namespace

bool MemoryFit::fits(const Layout& layout) const {
  return device_memory(*cluster_, tables_->peak_allocated(layout)) <= cluster_->device.memory;
}

std::optional<Layout> MemoryFit::fill(const Layout& layout) const {
  Layout filled = layout;
  const bool checkpoints = layout.activation_checkpointing != ActivationCheckpointing::kNone;
  filled.checkpointed_blocks = checkpoints ? model_->num_hidden_layers : 0;
  if (!fits(filled)) return std::nullopt;
  if (checkpoints) checkpoint_fewest(filled);
  keep_most(filled);
  return filled;
}

void MemoryFit::checkpoint_fewest(Layout& layout) const {
  layout.checkpointed_blocks = first_that(1, model_->num_hidden_layers, [&](std::int64_t blocks) {
    layout.checkpointed_blocks = blocks;
    return fits(layout);
  });
}

void MemoryFit::keep_most(Layout& layout) const {
  const bool releases = without_replicas(layout.sharding) == Sharding::kFullShard;
  if (!releases || sharding_ranks(layout.mesh) == 1) return;
  std::int64_t most = 0;
  for (const Stage& stage : stages_of(*model_, layout)) most = std::max(most, stage.blocks);
  const std::int64_t least = layout.blocks_kept_gathered;
  // So many fewer than all are released.
  layout.blocks_kept_gathered = most - first_that(0, most - least, [&](std::int64_t released) {
                                  layout.blocks_kept_gathered = most - released;
                                  return fits(layout);
                                });
}

}  // namespace meshplan::planner

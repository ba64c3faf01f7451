#include "planner/search/fit.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include "planner/cost/estimate.h"
#include "planner/cost/memory.h"
#include "planner/layout/stage.h"

namespace meshplan::planner {

std::optional<Layout> MemoryFit::fill(const Layout& layout) { return fill(layout, Stages::kAll); }

std::optional<Layout> MemoryFit::fill_fullest(const Layout& layout) {
  return fill(layout, Stages::kFullest);
}

std::optional<Layout> MemoryFit::fill(const Layout& layout, Stages stages) {
  Layout filled = layout;
  const bool checkpoints = layout.activation_checkpointing != ActivationCheckpointing::kNone;
  filled.checkpointed_blocks = checkpoints ? model_->num_hidden_layers : 0;
  if (!fits(filled, stages)) return std::nullopt;
  if (checkpoints) checkpoint_fewest(filled, stages);
  keep_most(filled, stages);
  return filled;
}

Stage MemoryFit::fullest_of(const Layout& layout) const {
  const std::int64_t last = layout.mesh.sizes[Axis::kPp] - 1;
  return stage_at(*model_, layout, std::min(fullest_, last));
}

common::Bytes MemoryFit::need_of_fullest(const Layout& layout) {
  return device_memory(*cluster_, tables_->peak_allocated(layout, fullest_of(layout)));
}

bool MemoryFit::fits(const Layout& layout, const Stage& stage) {
  const bool fit =
      device_memory(*cluster_, tables_->peak_allocated(layout, stage)) <= cluster_->device.memory;
  if (!fit) fullest_ = stage.index;
  return fit;
}

bool MemoryFit::fullest_fits(const Layout& layout) { return fits(layout, fullest_of(layout)); }

bool MemoryFit::fits(const Layout& layout, Stages which) {
  if (which == Stages::kFullest) return fullest_fits(layout);
  const std::vector<Stage> stages = stages_that_peak(*model_, layout);
  return fullest_fits(layout) && std::all_of(stages.begin(), stages.end(), [&](const Stage& stage) {
           return fits(layout, stage);
         });
}

void MemoryFit::set_least_that_fits(Layout& layout, Stages stages, std::int64_t from,
                                    std::int64_t to,
                                    const std::function<void(Layout&, std::int64_t)>& set) {
  while (from < to) {
    // By the fullest stage alone, until another one turns out not to fit.
    from = least_of_fullest(layout, from, to, set);
    set(layout, from);
    if (from == to || fits(layout, stages)) break;
    ++from;
  }
  set(layout, from);
}

std::int64_t MemoryFit::least_of_fullest(Layout& layout, std::int64_t from, std::int64_t to,
                                         const std::function<void(Layout&, std::int64_t)>& set) {
  const auto room_with = [&](std::int64_t number) {
    set(layout, number);
    return static_cast<double>((cluster_->device.memory - need_of_fullest(layout)).value);
  };
  if (room_with(from) >= 0) return from;
  double lacking = -room_with(from);
  double room = room_with(to);
  // What fits grows by about as much with each: regula falsi, with a bisection now and then where
  // it does not.
  for (int probe = 1; from + 1 < to; ++probe) {
    const double part = lacking / std::max(1.0, lacking + room);
    const auto guess =
        from + static_cast<std::int64_t>(std::ceil(part * static_cast<double>(to - from)));
    const std::int64_t middle =
        probe % 3 == 0 ? from + (to - from) / 2 : std::clamp(guess, from + 1, to - 1);
    const double left = room_with(middle);
    if (left >= 0) {
      to = middle;
      room = left;
    } else {
      from = middle;
      lacking = -left;
    }
  }
  return to;
}

void MemoryFit::checkpoint_fewest(Layout& layout, Stages stages) {
  set_least_that_fits(
      layout, stages, 1, model_->num_hidden_layers,
      [](Layout& tried, std::int64_t blocks) { tried.checkpointed_blocks = blocks; });
}

void MemoryFit::keep_most(Layout& layout, Stages stages) {
  const bool releases = without_replicas(layout.sharding) == Sharding::kFullShard;
  if (!releases || sharding_ranks(layout.mesh) == 1) return;
  std::int64_t most = 0;
  for (const Stage& stage : stages_of(*model_, layout)) most = std::max(most, stage.blocks);
  const std::int64_t least = layout.blocks_kept_gathered;
  // So many fewer than all are released.
  set_least_that_fits(layout, stages, 0, most - least,
                      [most](Layout& tried, std::int64_t released) {
                        tried.blocks_kept_gathered = most - released;
                      });
}

}  // namespace meshplan::planner

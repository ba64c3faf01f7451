#pragma once

#include <cstdint>
#include <vector>

#include "planner/layout/layout.h"
#include "planner/model/model_spec.h"

namespace meshplan::planner {

/// What the ranks at one place of the pp axis hold: consecutive blocks, the first stage the
/// embedding, the last one final norm and head as well.
struct Stage {
  std::int64_t index = 0;
  std::int64_t count = 1;
  std::int64_t first_block = 0;
  std::int64_t blocks = 0;

  bool is_first() const { return index == 0; }
  bool is_last() const { return index + 1 == count; }
  bool operator==(const Stage&) const = default;
};

/// Blocks are divided as evenly as can be; where they do not divide, the stages after the first
/// hold one more, so that embedding and head come on top of the smaller ones. Requires 0 <= index <
/// pp <= num_hidden_layers.
Stage stage_at(const ModelSpec& model, const Layout& layout, std::int64_t index);

/// All stages, in the order of the pp axis.
std::vector<Stage> stages_of(const ModelSpec& model, const Layout& layout);

/// Microbatches whose forward pass a stage runs before its first backward pass begins, under the
/// schedule of one forward, one backward (Narayanan et al. 2021, arXiv 2104.04473, figure 4).
std::int64_t warm_up_microbatches(const Stage& stage, std::int64_t accumulation);

}  // namespace meshplan::planner

#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "planner/layout/stage.h"

namespace meshplan::planner {

/// A microbatch's way through one chunk of the stage's blocks.
struct Pass {
  std::int64_t microbatch = 0;
  std::int64_t chunk = 0;

  bool operator==(const Pass&) const = default;
};

/// A forward pass, then a backward pass, or one of the two.
struct Slot {
  std::optional<Pass> forward;
  std::optional<Pass> backward;
};

/// Slots that repeat as a whole, each time on microbatches that are `microbatch_stride` further.
struct Period {
  std::vector<Slot> slots;
  std::int64_t count = 1;
  std::int64_t microbatch_stride = 1;
};

/// The forward pass at this place among those of an interleaved stage: rounds of as many
/// microbatches as there are stages go through chunk after chunk. The backward pass at this place
/// is the same but for the chunk, which is as far from the last as the forward one's is from the
/// first.
Pass interleaved_pass(std::int64_t stages, std::int64_t chunks, std::int64_t index);

/// Forward passes that a stage runs before its first backward pass begins: one for each stage
/// behind it under one forward, one backward (Narayanan et al. 2021, arXiv 2104.04473, figure 4);
/// interleaved with v chunks (the same, section 2.2), two for each and the passes of one round of
/// all stages for each chunk after the first.
std::int64_t warm_up_passes(const Stage& stage, const Layout& layout);

/// What a stage of an interleaved pipeline runs, in the order of interleaved_pass(); periods of pp
/// x virtual_stages slots whose microbatches are neither first nor last of the step are alike but
/// for the microbatch. Requires more than one virtual stage, and accumulation a multiple of pp.
std::vector<Period> interleaved_schedule(const Stage& stage, const Layout& layout);

}  // namespace meshplan::planner

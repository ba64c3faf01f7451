#pragma once

#include <array>
#include <cstdint>
#include <vector>

#include "planner/cost/playback.h"
#include "planner/layout/layout.h"
#include "planner/model/model_spec.h"

namespace meshplan::planner {

/// Blocks in a row that are treated alike: checkpointed or not, kept gathered or not.
struct Regions {
  /// Whether checkpointed blocks reach into those that are kept gathered.
  bool overlap = false;
  std::array<std::int64_t, kRegions> blocks{};

  bool operator==(const Regions&) const = default;
};

/// Of a layout without a pipeline.
Regions regions_of(const ModelSpec& model, const Layout& layout);

/// Cut to lengths at which regions are long.
Regions shortened(const Regions& regions);
std::int64_t shortened(std::int64_t microbatches);

/// The shortest program with the same kinds of instruction in the same order as a layout's.
struct ShortProgram {
  Playback playback;
  /// An instruction of each kind, on units of the whole model.
  std::vector<Instruction> kinds;
  Regions regions;
  std::int64_t microbatches = 1;
};
ShortProgram short_program(const ModelSpec& model, const Job& job, const Layout& layout);

/// How much longer the layout's own program is.
Growth growth_of(const ShortProgram& program, const Regions& regions, std::int64_t microbatches);

}  // namespace meshplan::planner

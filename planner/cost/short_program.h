#pragma once

#include <array>
#include <cstdint>
#include <vector>

#include "planner/cost/playback.h"
#include "planner/layout/layout.h"
#include "planner/layout/stage.h"
#include "planner/model/model_spec.h"

namespace meshplan::planner {

/// Blocks in a row that are treated alike: checkpointed or not, kept gathered or not.
struct Regions {
  /// Whether checkpointed blocks reach into those that are kept gathered.
  bool overlap = false;
  std::array<std::int64_t, kRegions> blocks{};

  bool operator==(const Regions&) const = default;
};

/// What the length of a stage's program follows from: its regions, and the microbatches of each run
/// of the schedule.
struct ProgramLengths {
  Regions regions;
  std::array<std::int64_t, kRuns> runs{};

  bool operator==(const ProgramLengths&) const = default;
};
ProgramLengths lengths_of(const Layout& layout, const Stage& stage);

/// Cut to where regions are long and microbatches many.
ProgramLengths shortened(const ProgramLengths& lengths);

/// Whether the layout's programs can be cut: blocks are alike, stages not interleaved, and units
/// gathered one ahead.
bool can_be_shortened(const ModelSpec& model, const Layout& layout);

/// A term of how often a kind of instruction is run, which is not 0.
struct KindRuns {
  std::uint16_t kind = 0;
  std::uint16_t term = 0;
  std::int64_t times = 0;
};

/// The shortest program with the same kinds of instruction in the same order as a stage's; or the
/// stage's own, where that cannot be told.
struct ShortProgram {
  Playback playback;
  /// An instruction of each kind, on units of the whole model, and how often they are run.
  std::vector<Instruction> kinds;
  std::vector<KindRuns> runs;
  ProgramLengths lengths;
};
ShortProgram short_program(const ModelSpec& model, const Job& job, const Layout& layout,
                           const Stage& stage);
/// The stage's own program, of a layout that cannot be cut. It is to be played with no growth but
/// fewer rounds.
ShortProgram whole_program(const ModelSpec& model, const Job& job, const Layout& layout,
                           const Stage& stage);

/// How much longer the stage's own program is.
Growth growth_of(const ShortProgram& program, const ProgramLengths& lengths);

}  // namespace meshplan::planner

#pragma once

#include <array>
#include <optional>
#include <vector>

#include "common/units.h"
#include "planner/cost/priced_program.h"

namespace meshplan::planner {

/// Time of the step, and of its kernels on the compute stream.
struct StepTimes {
  common::Seconds step;
  common::Seconds compute;
  /// Indexed by Axis.
  std::array<common::Seconds, kAxes.size()> exposed;
};

/// Plays the program on the streams of one rank, all ranks being alike: an operation starts when
/// its stream is free, a collective no earlier than the end of the compute work issued before it,
/// and compute stands still where it waits for a collective. Long repetitions are played until they
/// are steady, then extrapolated.
StepTimes play_times(const PricedProgram& program);

/// A step over all stages of a pipeline.
struct PipelineTimes {
  /// By stage, each with what it waits for the others' messages, which is exposed on pp: of as many
  /// microbatches as were played.
  std::vector<StepTimes> stages;
  /// Until the last stage has ended what was played of it, and the whole step.
  common::Seconds played;
  common::Seconds step;
  /// How far apart the microbatches of a longer step follow one another; nothing where there are
  /// too few to tell.
  std::optional<common::Seconds> cycle;
};

/// Plays the programs of all stages, in the order of the pp axis, beside each other: a stage waits
/// for what its neighbours send. Stages of one chunk are played until they repeat themselves.
PipelineTimes play_pipeline(const std::vector<PricedStage>& stages);

}  // namespace meshplan::planner

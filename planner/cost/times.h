#pragma once

#include <array>

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

}  // namespace meshplan::planner

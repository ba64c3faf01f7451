#pragma once

#include <cstdint>
#include <vector>

#include "simulator/goodput/goodput.h"

namespace meshplan::simulator {

/// What became of a run of a given length.
struct PlayedRun {
  std::int64_t failures = 0;
  Goodput shares;
};

/// Plays runs of so much time, with random failures of the model. The numbers are those of
/// std::mt19937_64, turned into times here: the same everywhere for a seed. Training since the last
/// checkpoint counts as kept at a run's end. Requires time > 0 and what expected_goodput requires.
std::vector<PlayedRun> play_runs(const FailureModel& model, common::Seconds interval,
                                 common::Seconds time, std::int64_t runs, std::uint64_t seed);

/// Over several runs: the mean, and quantiles of 5 and 95 %.
struct Spread {
  double mean = 0;
  double low = 0;
  double high = 0;
};
struct PlayedGoodput {
  Spread failures;
  Spread useful;
};
/// Requires runs.
PlayedGoodput summarize(const std::vector<PlayedRun>& runs);

}  // namespace meshplan::simulator

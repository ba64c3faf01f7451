#pragma once

#include <algorithm>
#include <cstdint>
#include <optional>
#include <vector>

#include "common/checked.h"
#include "planner/cost/player.h"
#include "planner/layout/stage.h"

namespace meshplan::planner {

/// Microbatches after which a pipeline's times repeat themselves: each stage's pace has gone there
/// and back. Whole rounds of the stages, which an interleaved schedule runs in.
inline std::int64_t pipeline_transient(std::int64_t stages) {
  return (8 + common::ceil_divide(16, stages)) * stages;
}

/// The other stages of a pipeline, as one of them sees them.
template <class Rank>
struct OtherStages {
  const std::vector<Player<Rank>>& stages;
  std::int64_t here = 0;

  const std::vector<double>& arrivals(const PlayedInstruction& receive) const {
    const std::int64_t count = std::ssize(stages);
    const ChunkPlace to{.stage = here, .chunk = receive.chunk};
    const ChunkPlace from = receive.at_input ? previous_chunk(to, count) : next_chunk(to, count);
    const auto& sent = stages[static_cast<std::size_t>(from.stage)].sent();
    return (receive.at_input ? sent.activations
                             : sent.gradients)[static_cast<std::size_t>(from.chunk)];
  }

  std::optional<double> met(Message meeting) const {
    const std::size_t step = meeting == Message::kMetByAll ? 1 : stages.size() - 1;
    double last = 0;
    for (std::size_t s = 0; s < stages.size(); s += step) {
      const std::optional<double> came = stages[s].came_to(meeting);
      if (!came) return std::nullopt;
      last = std::max(last, *came);
    }
    return last;
  }
};

/// Plays all stages, in the order of the pp axis, beside each other: a stage waits for what its
/// neighbours send, and for the last where they meet.
template <class Rank>
void play_beside_each_other(std::vector<Player<Rank>>& stages) {
  const std::int64_t count = std::ssize(stages);
  const auto advance = [&](std::int64_t s) {
    return stages[static_cast<std::size_t>(s)].advance(OtherStages<Rank>{stages, s});
  };
  // One round of messages at a time: there to the last stage, and back.
  for (bool all_done = false; !all_done;) {
    all_done = true;
    for (std::int64_t s = 0; s < count; ++s) advance(s);
    for (std::int64_t s = count; s-- > 0;) all_done = advance(s) && all_done;
  }
}

/// Rounds of one forward and one backward pass that leave in all stages what was there before them.
struct SteadyRounds {
  std::int64_t rounds = 0;
  double time = 0;
};

/// The last such rounds. Those after them go on like them, since each follows from the one before
/// alone. Nothing where there are none. Requires stages of one chunk.
template <class Rank>
std::optional<SteadyRounds> steady_rounds(const std::vector<Player<Rank>>& stages) {
  std::size_t rounds = stages.front().rounds().size();
  for (const Player<Rank>& stage : stages) rounds = std::min(rounds, stage.rounds().size());
  for (std::size_t period = 1; period < rounds; ++period) {
    const auto time_of = [&](const Player<Rank>& stage) {
      return stage.period_between(stage.rounds()[rounds - 1 - period], stage.rounds()[rounds - 1]);
    };
    const std::optional<double> time = time_of(stages.front());
    const auto takes_it = [&](const Player<Rank>& stage) {
      const std::optional<double> own = time_of(stage);
      return own && stage.rank().clock().is_rounding(*own - *time);
    };
    if (time && std::all_of(stages.begin(), stages.end(), takes_it))
      return SteadyRounds{.rounds = static_cast<std::int64_t>(period), .time = *time};
  }
  return std::nullopt;
}

/// How far apart the microbatches of a longer step follow one another, in seconds: the mean
/// distance of the last messages but one of the last stage's last chunk. Nothing where there are
/// too few to tell.
template <class Rank>
std::optional<double> cycle_of(const std::vector<Player<Rank>>& stages) {
  const std::vector<double>& sent = stages.back().sent().gradients.back();
  const std::size_t averaged = 2 * stages.size();
  if (sent.size() < averaged + 3) return std::nullopt;
  const std::size_t last = sent.size() - 2;
  return (sent[last] - sent[last - averaged]) / static_cast<double>(averaged);
}

/// Stages that have been played, and the time that the rest of the step takes beyond.
template <class Rank>
struct PlayedPipeline {
  std::vector<Player<Rank>> stages;
  double rest = 0;

  double end() const {
    double end = 0;
    for (const Player<Rank>& stage : stages) end = std::max(end, stage.rank().clock().end());
    return end + rest;
  }
};

/// Plays a step of so many stages and microbatches, of which only as many as it takes to see how
/// they repeat. `stages_without(rounds)` makes the players of all stages, of one chunk each, for a
/// step with so many rounds fewer.
template <class StagesWithout>
auto play_rounds(std::int64_t count, std::int64_t microbatches,
                 const StagesWithout& stages_without) {
  PlayedPipeline<typename decltype(stages_without(0))::value_type::RankType> pipeline;
  auto& stages = pipeline.stages;
  const auto play = [&](std::int64_t played) {
    stages = stages_without(microbatches - played);
    play_beside_each_other(stages);
  };
  for (const std::int64_t rounds : {count + 8, 2 * count + 8, pipeline_transient(count)}) {
    if (microbatches <= rounds) {
      play(microbatches);
      return pipeline;
    }
    play(rounds);
    const std::optional<SteadyRounds> steady = steady_rounds(stages);
    if (!steady) continue;
    const std::int64_t left = (microbatches - rounds) % steady->rounds;
    if (left > 0) play(rounds + left);
    pipeline.rest = static_cast<double>((microbatches - rounds) / steady->rounds) * steady->time;
    return pipeline;
  }
  pipeline.rest =
      static_cast<double>(microbatches - pipeline_transient(count)) * cycle_of(stages).value();
  return pipeline;
}

}  // namespace meshplan::planner

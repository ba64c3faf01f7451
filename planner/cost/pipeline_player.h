#pragma once

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

/// Plays all stages, in the order of the pp axis, beside each other: a stage waits for what its
/// neighbours send.
template <class Rank>
void play_beside_each_other(std::vector<Player<Rank>>& stages) {
  const std::int64_t count = std::ssize(stages);
  const auto advance = [&](std::int64_t s) {
    const auto arrivals = [&](const PlayedInstruction& receive) -> const std::vector<double>& {
      const ChunkPlace here{.stage = s, .chunk = receive.chunk};
      const ChunkPlace from =
          receive.at_input ? previous_chunk(here, count) : next_chunk(here, count);
      const auto& sent = stages[static_cast<std::size_t>(from.stage)].sent();
      return (receive.at_input ? sent.activations
                               : sent.gradients)[static_cast<std::size_t>(from.chunk)];
    };
    return stages[static_cast<std::size_t>(s)].advance(arrivals);
  };
  // One round of messages at a time: there to the last stage, and back.
  for (bool all_done = false; !all_done;) {
    all_done = true;
    for (std::int64_t s = 0; s < count; ++s) advance(s);
    for (std::int64_t s = count; s-- > 0;) all_done = advance(s) && all_done;
  }
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

}  // namespace meshplan::planner

#pragma once

#include <algorithm>
#include <optional>
#include <vector>

#include "planner/cost/player.h"

namespace meshplan::planner {

/// Microbatches after which a pipeline's times repeat themselves: each stage's pace has gone there
/// and back.
constexpr std::int64_t pipeline_transient(std::int64_t stages) { return 8 * stages + 16; }

/// Plays all stages, in the order of the pp axis, beside each other: a stage waits for what its
/// neighbours send.
template <class Rank>
void play_beside_each_other(std::vector<Player<Rank>>& stages) {
  const auto advance = [&](std::size_t s) {
    const auto* previous = s > 0 ? &stages[s - 1].sent() : nullptr;
    const auto* next = s + 1 < stages.size() ? &stages[s + 1].sent() : nullptr;
    return stages[s].advance(previous, next);
  };
  // One round of messages at a time: there to the last stage, and back.
  for (bool first_done = false; !first_done;) {
    for (std::size_t s = 0; s < stages.size(); ++s) advance(s);
    for (std::size_t s = stages.size(); s-- > 0;) first_done = advance(s);
  }
}

/// How far apart the microbatches of a longer step follow one another, in seconds: the mean distance
/// of the last stage's last messages but one. Nothing where there are too few to tell.
template <class Rank>
std::optional<double> cycle_of(const std::vector<Player<Rank>>& stages) {
  const std::vector<double>& sent = stages.back().sent().gradients;
  const std::size_t averaged = 2 * stages.size();
  if (sent.size() < averaged + 3) return std::nullopt;
  const std::size_t last = sent.size() - 2;
  return (sent[last] - sent[last - averaged]) / static_cast<double>(averaged);
}

}  // namespace meshplan::planner

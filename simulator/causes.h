#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "simulator/rank_groups.h"
#include "simulator/score.h"

namespace meshplan::simulator {

/// A rank, by its pipeline stage and its place among the stage's ranks; there is one place where
/// they are folded into one.
struct Place {
  std::size_t stage = 0;
  std::size_t rank = 0;

  bool operator==(const Place&) const = default;
};

/// Who came last to a collective, and whether it was its stream that the collective waited for.
struct Release {
  Place place;
  bool by_stream = false;
};

/// What released every collective and ended every wait of a step, so that it can be told
/// afterwards why the step takes its time. A word for each group of a collective, two bits for each
/// rank of a wait.
class Causes {
 public:
  /// Remembers nothing where that would take more than a gigabyte.
  Causes(const std::vector<Score>& scores, const planner::DeviceMesh& mesh, std::size_t ranks);

  bool remembers() const { return remembers_; }

  /// Those of a beat, to be written in the order of groups or ranks: of a collective by word(); of
  /// a wait first the bits of ranks that wait for the first awaited, 32 to a word, then those for
  /// the second.
  std::uint32_t* of(std::size_t stage, BeatIndex beat) {
    return words_[stage].data() + (remembers_ ? begins_[stage][static_cast<std::size_t>(beat)] : 0);
  }
  /// `last` is a rank of the stage or, where stages meet, a stage.
  static std::uint32_t word(std::size_t last, bool by_stream) {
    return static_cast<std::uint32_t>(last << 1 | (by_stream ? 1 : 0));
  }
  std::size_t words_of_bits() const { return (ranks_ + 31) / 32; }

  /// Of a collective of the place's rank. Requires remembers(), as does the next.
  Release release_of(Place place, BeatIndex collective) const;
  /// Which of the awaited ended last, and after compute had come to the wait; of a message 0.
  std::optional<std::size_t> binding(Place place, BeatIndex wait) const;

 private:
  std::size_t size_of(const Score& score, const Beat& beat) const;

  const std::vector<Score>& scores_;
  planner::DeviceMesh mesh_;
  std::size_t ranks_;
  bool remembers_ = true;
  /// By stage and beat.
  std::vector<std::vector<std::size_t>> begins_;
  std::vector<std::vector<std::uint32_t>> words_;
};

}  // namespace meshplan::simulator

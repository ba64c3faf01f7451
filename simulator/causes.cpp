#include "simulator/causes.h"

#include <algorithm>

namespace meshplan::simulator {
namespace {

constexpr std::size_t kMaxWords = (std::size_t{1} << 30) / sizeof(std::uint32_t);

}  // namespace

Causes::Causes(const std::vector<Score>& scores, const planner::DeviceMesh& mesh, std::size_t ranks)
    : scores_(scores), mesh_(mesh), ranks_(ranks) {
  std::size_t all = 0;
  std::size_t largest = 0;
  for (const Score& score : scores) {
    std::vector<std::size_t>& begins = begins_.emplace_back();
    begins.reserve(score.beats.size());
    std::size_t words = 0;
    for (const Beat& beat : score.beats) {
      begins.push_back(words);
      const std::size_t size = size_of(score, beat);
      largest = std::max(largest, size);
      words += size;
    }
    words_.emplace_back().resize(0);
    all += words;
    remembers_ = remembers_ && all <= kMaxWords;
    if (remembers_) words_.back().resize(words);
  }
  if (remembers_) return;
  for (std::vector<std::uint32_t>& words : words_) words.assign(largest, 0);
}

std::size_t Causes::size_of(const Score& score, const Beat& beat) const {
  const Move& move = score.move_of(beat);
  switch (move.kind) {
    case BeatKind::kKernels:
      break;
    case BeatKind::kCollective:
      if (move.meeting != Meeting::kGroup) return ranks_;
      return ranks_ / static_cast<std::size_t>(
                          rank_groups(mesh_, move.axis, static_cast<std::int64_t>(ranks_)).size);
    case BeatKind::kWait:
      return 2 * words_of_bits();
    case BeatKind::kReceive:
      return words_of_bits();
  }
  return 0;
}

Release Causes::release_of(Place place, BeatIndex collective) const {
  const Score& score = scores_[place.stage];
  const Move& move = score.move_at(collective);
  const std::uint32_t* words =
      words_[place.stage].data() + begins_[place.stage][static_cast<std::size_t>(collective)];
  if (move.meeting == Meeting::kGroup) {
    const RankGroups groups = rank_groups(mesh_, move.axis, static_cast<std::int64_t>(ranks_));
    const auto rank = static_cast<std::int64_t>(place.rank);
    const std::int64_t group = rank / groups.span() * groups.stride + rank % groups.stride;
    const std::uint32_t word = words[group];
    return {{place.stage, word >> 1}, (word & 1) != 0};
  }
  const std::uint32_t word = words[place.rank];
  const bool by_stream = (word & 1) != 0;
  if (move.meeting == Meeting::kStages) return {{word >> 1, place.rank}, by_stream};
  return {{place.stage, word >> 1}, by_stream};
}

std::optional<std::size_t> Causes::binding(Place place, BeatIndex wait) const {
  const std::uint32_t* words =
      words_[place.stage].data() + begins_[place.stage][static_cast<std::size_t>(wait)];
  const auto is_set = [&](std::size_t plane) {
    return (words[plane * words_of_bits() + place.rank / 32] >> (place.rank % 32) & 1) != 0;
  };
  if (is_set(0)) return 0;
  const bool waits = scores_[place.stage].move_at(wait).kind == BeatKind::kWait;
  if (waits && is_set(1)) return 1;
  return std::nullopt;
}

}  // namespace meshplan::simulator

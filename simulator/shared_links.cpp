#include "simulator/shared_links.h"

#include <algorithm>
#include <optional>

#include "common/error.h"
#include "simulator/fabric/rank_links.h"

namespace meshplan::simulator {
namespace {

using planner::Stream;

/// What stages have from each other.
struct BetweenStages {
  struct Sent {
    std::size_t stage = 0;
    BeatIndex beat = kNoBeat;
  };
  struct Meeting {
    std::size_t expected = 0;
    std::size_t come = 0;
    Picoseconds ready = 0;
  };

  Meeting& meeting_of(const Score& score, const Beat& beat) {
    const auto instruction = static_cast<std::size_t>(beat.instruction);
    const bool tied =
        score.instructions[instruction].opcode == planner::Opcode::kReduceTiedGradients;
    return meetings[tied ? 0 : 1];
  }

  std::vector<Sent> messages;
  std::array<Meeting, 2> meetings;
};

/// One rank of a stage, playing beside those of the others.
class StagePlayer {
 public:
  StagePlayer(Score& score, std::size_t stage, double adapters, BetweenStages& between)
      : score_(score),
        stage_(stage),
        adapters_factor_(millionths(1 / adapters)),
        between_(between),
        links_(score.beats.size(), adapters) {}

  bool is_done() const { return static_cast<std::size_t>(next_) == score_.beats.size(); }
  RankLinks& links() { return links_; }
  const RankLinks& links() const { return links_; }

  /// Plays on until it has to wait for another stage; whether it got further.
  bool advance(const std::vector<StagePlayer>& stages) {
    const BeatIndex before = next_;
    while (!is_done() && play(stages)) ++next_;
    return next_ > before;
  }

  /// After the step.
  void write_shared() {
    for (std::size_t b = 0; b < score_.beats.size(); ++b) {
      Beat& beat = score_.beats[b];
      const Move& move = score_.move_of(beat);
      if (move.kind != BeatKind::kCollective || move.meeting == Meeting::kStages) continue;
      const auto number = static_cast<std::int32_t>(b);
      const Picoseconds taken = links_.end_of(number) - links_.start_of(number);
      beat.shared = std::max<Picoseconds>(0, taken - move.duration.time(adapters_factor_));
    }
  }

 private:
  /// False where it has to wait for another stage.
  bool play(const std::vector<StagePlayer>& stages) {
    const Beat& beat = score_.beats[static_cast<std::size_t>(next_)];
    const Move& move = score_.move_of(beat);
    switch (move.kind) {
      case BeatKind::kKernels:
        compute_ += move.duration.fixed;
        break;
      case BeatKind::kCollective:
        if (move.meeting == Meeting::kStages) return meet(beat, move);
        issue(beat, move);
        break;
      case BeatKind::kWait:
        for (const BeatIndex awaited : beat.awaited) {
          if (awaited != kNoBeat) wait_for(awaited);
        }
        break;
      case BeatKind::kReceive:
        return receive(beat, stages);
    }
    return true;
  }

  void issue(const Beat& beat, const Move& move) {
    const bool is_known = move.loads.rate > 0;
    const Picoseconds transfer = is_known
                                     ? move.duration.transfer
                                     : move.duration.time(adapters_factor_) - move.duration.fixed;
    links_.issue(next_, move.stream, compute_, {move.duration.fixed, transfer, &move.loads});
    if (beat.message != kNoMessage)
      between_.messages[static_cast<std::size_t>(beat.message)] = {stage_, next_};
    if (move.stream == Stream::kCompute) {
      compute_ = links_.play_to_end(next_);
    } else {
      compute_ += move.taken.time(adapters_factor_);
    }
  }

  /// Until then the rank issues nothing else, so its links can be played that far.
  void wait_for(BeatIndex collective) {
    const Beat& beat = score_.beats[static_cast<std::size_t>(collective)];
    const bool meets = score_.move_of(beat).meeting == Meeting::kStages;
    compute_ = std::max(compute_, meets ? met_until_ : links_.play_to_end(collective));
  }

  bool receive(const Beat& beat, const std::vector<StagePlayer>& stages) {
    const BetweenStages::Sent& sent = between_.messages[static_cast<std::size_t>(beat.message)];
    if (sent.beat == kNoBeat) return false;
    const RankLinks& sender = stages[sent.stage].links_;
    if (!sender.has_ended(sent.beat)) return false;
    compute_ = std::max(compute_, sender.end_of(sent.beat));
    return true;
  }

  bool meet(const Beat& beat, const Move& move) {
    BetweenStages::Meeting& meeting = between_.meeting_of(score_, beat);
    if (!has_come_) {
      has_come_ = true;
      links_.play_out(move.stream);
      ++meeting.come;
      meeting.ready = std::max({meeting.ready, compute_, links_.free_at(move.stream)});
    }
    if (meeting.come < meeting.expected) return false;
    has_come_ = false;
    met_until_ = meeting.ready + move.duration.time(adapters_factor_);
    links_.hold(move.stream, met_until_);
    compute_ =
        move.stream == Stream::kCompute ? met_until_ : compute_ + move.taken.time(adapters_factor_);
    return true;
  }

  Score& score_;
  std::size_t stage_;
  Millionths adapters_factor_;
  BetweenStages& between_;
  RankLinks links_;
  BeatIndex next_ = 0;
  Picoseconds compute_ = 0;
  bool has_come_ = false;
  /// The end of the last collective of several stages.
  Picoseconds met_until_ = 0;
};

/// Whether collectives of different streams could fill a link together that each leaves free.
bool may_share(const Score& score, double adapters) {
  std::array<std::array<double, planner::kStreams>, kLinkTiers> most{};
  for (const Move& move : score.moves) {
    for (std::size_t tier = 0; tier < kLinkTiers; ++tier) {
      double& part = most[tier][static_cast<std::size_t>(move.stream)];
      part = std::max(part, move.duration.transfer > 0 ? move.loads.parts[tier] : 0);
    }
  }
  return std::ranges::any_of(most, [&](const auto& parts) {
    double sum = 0;
    double largest = 0;
    for (const double part : parts) {
      sum += part;
      largest = std::max(largest, part);
    }
    return sum > largest && sum > adapters;
  });
}

/// The stage whose links are the next of all to change, so that no other can send anything before.
StagePlayer* next_of(std::vector<StagePlayer>& stages) {
  StagePlayer* first = nullptr;
  for (StagePlayer& stage : stages) {
    if (const auto next = stage.links().next();
        next && (first == nullptr || *next < *first->links().next()))
      first = &stage;
  }
  return first;
}

void play(std::vector<StagePlayer>& stages) {
  const auto advance = [&](StagePlayer& stage) { return stage.advance(stages); };
  while (true) {
    bool advanced = false;
    for (StagePlayer& stage : stages) advanced = advance(stage) || advanced;
    if (advanced) continue;
    StagePlayer* const next = next_of(stages);
    if (next != nullptr) {
      next->links().step();
      continue;
    }
    if (std::ranges::all_of(stages, &StagePlayer::is_done)) return;
    throw common::Error(common::ErrorCode::kInternal,
                        "stages of the program wait for each other in a circle", "simulator");
  }
}

}  // namespace

void share_links(std::vector<Score>& scores, const planner::Layout& layout,
                 const Scenario& scenario) {
  std::vector<double> adapters;
  bool may = false;
  for (std::size_t s = 0; s < scores.size(); ++s) {
    adapters.push_back(least_adapters(scenario, layout.mesh, static_cast<std::int64_t>(s)));
    may = may || may_share(scores[s], adapters.back());
  }
  if (!may) return;
  BetweenStages between;
  between.messages.resize(message_count(layout));
  std::vector<StagePlayer> stages;
  stages.reserve(scores.size());
  for (std::size_t s = 0; s < scores.size(); ++s) {
    for (const Beat& beat : scores[s].beats) {
      const Move& move = scores[s].move_of(beat);
      if (move.kind == BeatKind::kCollective && move.meeting == Meeting::kStages)
        ++between.meeting_of(scores[s], beat).expected;
    }
    stages.emplace_back(scores[s], s, adapters[s], between);
  }
  play(stages);
  for (StagePlayer& stage : stages) stage.write_shared();
}

}  // namespace meshplan::simulator

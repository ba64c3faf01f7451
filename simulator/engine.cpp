#include "simulator/engine.h"

#include <algorithm>

#include "common/error.h"

namespace meshplan::simulator {
namespace {

using planner::Axis;
using planner::Instruction;
using planner::Opcode;
using planner::Stream;

/// A series of random numbers of the scenario's seed.
constexpr std::uint64_t kJitter = 2;

/// Beats of a stage between two reports of progress.
constexpr std::size_t kReported = 64;

const Instruction& instruction_of(const Score& score, const Beat& beat) {
  return score.instructions[static_cast<std::size_t>(beat.instruction)];
}

}  // namespace

Millionths Differences::longest() const {
  Millionths longest = kOne;
  const auto note = [&longest](const std::vector<Millionths>& factors) {
    for (Millionths factor : factors) longest = std::max(longest, factor);
  };
  note(kernels);
  if (!jitter.is_silent()) longest *= 2;
  for (const auto& factors : links) note(factors);
  for (const auto& factors : messages) note(factors);
  return longest;
}

Differences differences_of(const Scenario& scenario, const planner::DeviceMesh& mesh) {
  Differences differences;
  if (!tells_ranks_apart(scenario)) return differences;
  differences.kernels = kernel_factors(scenario, mesh);
  differences.jitter = Noise(scenario.seed, kJitter, millionths(scenario.jitter));
  for (Axis axis : planner::kAxes)
    differences.links[static_cast<std::size_t>(axis)] = link_factors(scenario, mesh, axis);
  const std::int64_t stage = planner::world_size(mesh) / mesh.sizes[Axis::kPp];
  differences.messages = {message_factors(scenario, mesh, stage),
                          message_factors(scenario, mesh, -stage)};
  return differences;
}

Engine::Engine(const std::vector<Score>& scores, const planner::DeviceMesh& mesh, std::size_t ranks,
               const Differences& differences)
    : scores_(scores),
      mesh_(mesh),
      ranks_(ranks),
      differences_(differences),
      causes_(scores, mesh, ranks),
      states_(scores.size()),
      times_(scores.size()) {
  for (std::size_t s = 0; s < scores.size(); ++s) {
    times_[s].compute.assign(ranks, 0);
    for (Times& exposed : times_[s].exposed) exposed.assign(ranks, 0);
    states_[s].slots.assign(scores[s].slots, Times(ranks));
    beats_ += scores[s].beats.size();
    for (const Beat& beat : scores[s].beats) {
      const Move& move = scores[s].move_of(beat);
      if (beat.message != kNoMessage && static_cast<std::size_t>(beat.message) >= messages_.size())
        messages_.resize(static_cast<std::size_t>(beat.message) + 1);
      if (move.kind != BeatKind::kCollective) continue;
      free_of(s, move).resize(ranks);
      if (move.meeting == Meeting::kStages) ++meeting_of(s, beat).expected;
    }
  }
}

void Engine::watch(const std::vector<Place>& places) {
  for (const Place& place : places) states_[place.stage].watched.push_back({place.rank, {}});
}

void Engine::play(const std::function<void(double)>& progress) {
  for (bool done = false; !done;) {
    const std::size_t before = played_;
    done = true;
    // There to the last stage, and back.
    for (std::size_t s = 0; s < states_.size(); ++s) advance(s, progress);
    for (std::size_t s = states_.size(); s-- > 0;) done = advance(s, progress) && done;
    if (!done && played_ == before) {
      throw common::Error(common::ErrorCode::kInternal,
                          "stages of the program wait for each other in a circle", "simulator");
    }
  }
  for (std::size_t s = 0; s < states_.size(); ++s) {
    Times& end = times_[s].end;
    end = times_[s].compute;
    for (const Times& free : states_[s].free) {
      for (std::size_t r = 0; r < free.size(); ++r) end[r] = std::max(end[r], free[r]);
    }
  }
}

Picoseconds Engine::step_time() const {
  Picoseconds time = 0;
  for (const StageTimes& stage : times_) {
    for (Picoseconds end : stage.end) time = std::max(time, end);
  }
  return time;
}

const std::vector<BeatTimes>& Engine::watched(Place place) const {
  const std::vector<Watched>& all = states_[place.stage].watched;
  return std::ranges::find(all, place.rank, &Watched::rank)->times;
}

Picoseconds Engine::kernel_time(Place place, BeatIndex beat, Picoseconds price) const {
  if (differences_.kernels.empty()) return price;
  const std::size_t rank = cluster_rank(place);
  const Picoseconds time = scaled(price, differences_.kernels[rank]);
  if (differences_.jitter.is_silent()) return time;
  const std::uint64_t drawn = rank << 32 | static_cast<std::uint32_t>(beat);
  return scaled(time, differences_.jitter.factor(drawn));
}

Picoseconds Engine::collective_time(Place place, BeatIndex beat) const {
  const Move& move = scores_[place.stage].move_at(beat);
  const Millionths* factors = link_factors(place.stage, beat);
  return move.duration.time(factors ? factors[place.rank] : kOne) +
         beat_at(place.stage, beat).shared;
}

Picoseconds Engine::taken_time(Place place, BeatIndex beat) const {
  const Move& move = scores_[place.stage].move_at(beat);
  const Millionths* factors = link_factors(place.stage, beat);
  return move.taken.time(factors ? factors[place.rank] : kOne);
}

std::pair<Place, BeatIndex> Engine::sender_of(Place place, BeatIndex receive) const {
  const Message& message =
      messages_[static_cast<std::size_t>(beat_at(place.stage, receive).message)];
  return {{message.stage, place.rank}, message.beat};
}

const Millionths* Engine::link_factors(std::size_t stage, BeatIndex index) const {
  const Score& score = scores_[stage];
  const Beat& beat = beat_at(stage, index);
  const Instruction& instruction = instruction_of(score, beat);
  const bool sends = instruction.opcode == Opcode::kSendActivations;
  const bool back = instruction.computation == planner::Computation::kEmbedding;
  const std::vector<Millionths>& factors =
      sends ? differences_.messages[back ? 1 : 0]
            : differences_.links[static_cast<std::size_t>(score.move_of(beat).axis)];
  return factors.empty() ? nullptr : factors.data() + stage * ranks_;
}

Engine::StageMeeting& Engine::meeting_of(std::size_t stage, const Beat& beat) {
  const bool tied = instruction_of(scores_[stage], beat).opcode == Opcode::kReduceTiedGradients;
  return meetings_[tied ? 0 : 1];
}

bool Engine::advance(std::size_t stage, const std::function<void(double)>& progress) {
  StageState& state = states_[stage];
  for (; state.next < scores_[stage].beats.size(); ++state.next) {
    const auto beat = static_cast<BeatIndex>(state.next);
    if (!play(stage, beat)) return false;
    if (!state.watched.empty()) note(stage, beat);
    if (++played_ % kReported == 0 && progress)
      progress(static_cast<double>(played_) / static_cast<double>(beats_));
  }
  return true;
}

bool Engine::play(std::size_t stage, BeatIndex beat) {
  switch (scores_[stage].move_at(beat).kind) {
    case BeatKind::kKernels:
      run_kernels(stage, beat);
      break;
    case BeatKind::kCollective:
      return run_collective(stage, beat);
    case BeatKind::kWait:
      wait(stage, beat);
      break;
    case BeatKind::kReceive:
      return receive(stage, beat);
  }
  return true;
}

void Engine::run_kernels(std::size_t stage, BeatIndex beat) {
  Times& compute = compute_of(stage);
  const Picoseconds price = scores_[stage].move_at(beat).duration.fixed;
  events_ += static_cast<std::int64_t>(ranks_);
  for (std::size_t r = 0; r < ranks_; ++r) compute[r] += kernel_time({stage, r}, beat, price);
}

bool Engine::run_collective(std::size_t stage, BeatIndex beat) {
  switch (scores_[stage].move_at(beat).meeting) {
    case Meeting::kGroup:
      meet_group(stage, beat);
      break;
    case Meeting::kNobody:
      start_alone(stage, beat);
      break;
    case Meeting::kStages:
      if (!meet_stages(stage, beat)) return false;
      break;
  }
  events_ += static_cast<std::int64_t>(ranks_);
  go_on(stage, beat);
  return true;
}

void Engine::meet_group(std::size_t stage, BeatIndex beat) {
  const Move& move = scores_[stage].move_at(beat);
  const RankGroups groups = rank_groups(mesh_, move.axis, static_cast<std::int64_t>(ranks_));
  const auto stride = static_cast<std::size_t>(groups.stride);
  const auto span = static_cast<std::size_t>(groups.span());
  const Picoseconds* compute = compute_of(stage).data();
  Picoseconds* free = free_of(stage, move).data();
  const Millionths* factors = link_factors(stage, beat);
  const Picoseconds shared = beat_at(stage, beat).shared;
  std::uint32_t* causes = causes_.of(stage, beat);
  for (std::size_t row = 0; row < ranks_; row += span) {
    for (std::size_t first = row; first < row + stride; ++first) {
      std::size_t last = first;
      Picoseconds ready = -1;
      for (std::size_t r = first; r < row + span; r += stride) {
        const Picoseconds time = std::max(compute[r], free[r]);
        if (time > ready) {
          ready = time;
          last = r;
        }
      }
      *causes++ = Causes::word(last, free[last] > compute[last]);
      const Picoseconds end = ready + move.duration.time(factors ? factors[first] : kOne) + shared;
      for (std::size_t r = first; r < row + span; r += stride) free[r] = end;
    }
  }
}

void Engine::start_alone(std::size_t stage, BeatIndex beat) {
  const Times& compute = compute_of(stage);
  Times& free = free_of(stage, scores_[stage].move_at(beat));
  std::uint32_t* causes = causes_.of(stage, beat);
  for (std::size_t r = 0; r < ranks_; ++r) {
    causes[r] = Causes::word(r, free[r] > compute[r]);
    free[r] = std::max(free[r], compute[r]) + collective_time({stage, r}, beat);
  }
  if (const std::int32_t number = beat_at(stage, beat).message; number != kNoMessage) {
    messages_[static_cast<std::size_t>(number)] = {.arrival = free, .stage = stage, .beat = beat};
  }
}

bool Engine::meet_stages(std::size_t stage, BeatIndex beat) {
  StageMeeting& meeting = meeting_of(stage, beat_at(stage, beat));
  const Times& compute = compute_of(stage);
  Times& free = free_of(stage, scores_[stage].move_at(beat));
  bool& has_come = states_[stage].has_come;
  if (!has_come) {
    has_come = true;
    ++meeting.come;
    meeting.ready.resize(ranks_, -1);
    meeting.last.resize(ranks_);
    for (std::size_t r = 0; r < ranks_; ++r) {
      const Picoseconds time = std::max(compute[r], free[r]);
      if (time <= meeting.ready[r]) continue;
      meeting.ready[r] = time;
      meeting.last[r] = Causes::word(stage, free[r] > compute[r]);
    }
  }
  if (meeting.come < meeting.expected) return false;
  has_come = false;
  std::ranges::copy(meeting.last, causes_.of(stage, beat));
  for (std::size_t r = 0; r < ranks_; ++r)
    free[r] = meeting.ready[r] + collective_time({stage, r}, beat);
  return true;
}

void Engine::go_on(std::size_t stage, BeatIndex index) {
  const Beat& beat = beat_at(stage, index);
  const Move& move = scores_[stage].move_of(beat);
  const Times& free = free_of(stage, move);
  if (beat.slot != kNoSlot) states_[stage].slots[static_cast<std::size_t>(beat.slot)] = free;
  if (move.stream == Stream::kCompute) {
    for (std::size_t r = 0; r < ranks_; ++r) expose(stage, move.axis, r, free[r]);
  } else if (move.taken.time() > 0) {
    const Times& compute = compute_of(stage);
    const Millionths* factors = link_factors(stage, index);
    for (std::size_t r = 0; r < ranks_; ++r)
      expose(stage, move.axis, r, compute[r] + move.taken.time(factors ? factors[r] : kOne));
  }
}

void Engine::expose(std::size_t stage, Axis axis, std::size_t rank, Picoseconds until) {
  StageTimes& times = times_[stage];
  times.exposed[static_cast<std::size_t>(axis)][rank] += until - times.compute[rank];
  times.compute[rank] = until;
}

void Engine::wait(std::size_t stage, BeatIndex index) {
  const Score& score = scores_[stage];
  const Beat& beat = beat_at(stage, index);
  const Times& compute = compute_of(stage);
  std::array<const Times*, 2> ends{};
  std::array<Axis, 2> axes{};
  const std::size_t count = beat.awaited[1] == kNoBeat ? 1 : 2;
  for (std::size_t i = 0; i < count; ++i) {
    const Beat& awaited = beat_at(stage, beat.awaited[i]);
    ends[i] = &states_[stage].slots[static_cast<std::size_t>(awaited.slot)];
    axes[i] = score.move_of(awaited).axis;
  }
  std::uint32_t* bits = causes_.of(stage, index);
  const std::size_t words = causes_.words_of_bits();
  for (std::size_t r = 0; r < ranks_; ++r) {
    if (r % 32 == 0) bits[r / 32] = bits[words + r / 32] = 0;
    const std::size_t later = count == 2 && (*ends[1])[r] >= (*ends[0])[r] ? 1 : 0;
    const Picoseconds end = (*ends[later])[r];
    if (end <= compute[r]) continue;
    bits[later * words + r / 32] |= 1U << (r % 32);
    expose(stage, axes[later], r, end);
  }
}

bool Engine::receive(std::size_t stage, BeatIndex index) {
  Message& message = messages_[static_cast<std::size_t>(beat_at(stage, index).message)];
  if (message.beat == kNoBeat) return false;
  const Times& compute = compute_of(stage);
  std::uint32_t* bits = causes_.of(stage, index);
  for (std::size_t r = 0; r < ranks_; ++r) {
    if (r % 32 == 0) bits[r / 32] = 0;
    if (message.arrival[r] <= compute[r]) continue;
    bits[r / 32] |= 1U << (r % 32);
    expose(stage, Axis::kPp, r, message.arrival[r]);
  }
  message.arrival = Times();
  return true;
}

void Engine::note(std::size_t stage, BeatIndex beat) {
  const Move& move = scores_[stage].move_at(beat);
  for (Watched& watched : states_[stage].watched) {
    BeatTimes times{.start = watched.times.empty() ? 0 : watched.times.back().compute};
    times.compute = times.end = compute_of(stage)[watched.rank];
    if (move.kind == BeatKind::kCollective) {
      times.end = free_of(stage, move)[watched.rank];
      times.start = times.end - collective_time({stage, watched.rank}, beat);
    }
    watched.times.push_back(times);
  }
}

}  // namespace meshplan::simulator

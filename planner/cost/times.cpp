#include "planner/cost/times.h"

#include <algorithm>
#include <optional>

#include "planner/cost/time_player.h"

namespace meshplan::planner {
namespace {

/// Times in seconds, with what compute stood still for.
class SecondsClock {
 public:
  using Time = double;
  struct End {
    double time = 0;
    Axis axis = Axis::kTp;
  };

  explicit SecondsClock(const std::vector<PricedInstruction>& kinds) : kinds_(&kinds) {}

  double operator[](Stream stream) const { return free_[static_cast<std::size_t>(stream)]; }

  std::optional<End> play(std::size_t kind) {
    const InstructionCost& cost = (*kinds_)[kind].cost;
    run(cost.before);
    if (!cost.issued) return std::nullopt;
    double& free = at(cost.issued->stream);
    free = std::max(free, at(Stream::kCompute)) + cost.issued->duration.value;
    const End end{free, cost.issued->axis};
    at(Stream::kCompute) += cost.issued->taken.value;
    exposed_[static_cast<std::size_t>(cost.issued->axis)] += cost.issued->taken.value;
    if (cost.issued->awaited) wait(end);
    run(cost.after);
    return end;
  }

  void wait(const End& end) {
    double& compute = at(Stream::kCompute);
    if (end.time <= compute) return;
    exposed_[static_cast<std::size_t>(end.axis)] += end.time - compute;
    compute = end.time;
  }

  static End later(const End& a, const End& b) { return b.time >= a.time ? b : a; }

  void skip(const SecondsClock& before, const Repetition& repetition) {
    const auto factor = static_cast<double>(repetition.count);
    for (std::size_t s = 0; s < kStreams; ++s) free_[s] += factor * (free_[s] - before.free_[s]);
    kernels_ += factor * (kernels_ - before.kernels_);
    for (std::size_t a = 0; a < kAxes.size(); ++a)
      exposed_[a] += factor * (exposed_[a] - before.exposed_[a]);
  }

  StepTimes times() const {
    StepTimes times{};
    times.step = common::Seconds(*std::max_element(free_.begin(), free_.end()));
    times.compute = common::Seconds(kernels_);
    for (std::size_t a = 0; a < kAxes.size(); ++a) times.exposed[a] = common::Seconds(exposed_[a]);
    return times;
  }

 private:
  double& at(Stream stream) { return free_[static_cast<std::size_t>(stream)]; }

  void run(const ComputeTime& time) {
    at(Stream::kCompute) += time.total.value;
    kernels_ += time.kernels.value;
    for (std::size_t a = 0; a < kAxes.size(); ++a) exposed_[a] += time.exposed[a].value;
  }

  const std::vector<PricedInstruction>* kinds_;
  std::array<double, kStreams> free_{};
  double kernels_ = 0;
  std::array<double, kAxes.size()> exposed_{};
};

using Player = TimePlayer<SecondsClock>;

/// The mean distance of so many of the last stage's messages before its last, which follow each
/// other as those of any longer step.
std::optional<common::Seconds> cycle_of(const std::vector<double>& sent, std::size_t averaged) {
  if (sent.size() < averaged + 3) return std::nullopt;
  const std::size_t last = sent.size() - 2;
  return common::Seconds((sent[last] - sent[last - averaged]) / static_cast<double>(averaged));
}

}  // namespace

StepTimes play_times(const PricedProgram& program) {
  Player player{SecondsClock(program.kinds)};
  player.play(program.shape);
  return player.clock().times();
}

PipelineTimes play_pipeline(const std::vector<PricedStage>& stages) {
  const std::int64_t count = std::ssize(stages);
  const auto chunks = static_cast<std::size_t>(stages.front().context.layout.virtual_stages);
  std::vector<Player> players;
  for (const PricedStage& stage : stages)
    players.emplace_back(SecondsClock(stage.program.kinds), Variation{}, chunks);
  const auto advance = [&](std::int64_t s) {
    const auto arrivals = [&](const Instruction& receive) -> const std::vector<double>& {
      const bool forward = receive.computation == Computation::kEmbedding;
      const ChunkPlace here{.stage = s, .chunk = receive.chunk};
      const ChunkPlace from = forward ? previous_chunk(here, count) : next_chunk(here, count);
      const Player::Sent& sent = players[static_cast<std::size_t>(from.stage)].sent();
      return (forward ? sent.activations : sent.gradients)[static_cast<std::size_t>(from.chunk)];
    };
    const auto index = static_cast<std::size_t>(s);
    return players[index].advance(stages[index].program.shape, arrivals);
  };
  // One round of messages at a time: there to the last stage, and back.
  for (bool all_done = false; !all_done;) {
    all_done = true;
    for (std::int64_t s = 0; s < count; ++s) advance(s);
    for (std::int64_t s = count; s-- > 0;) all_done = advance(s) && all_done;
  }
  PipelineTimes times;
  for (const Player& player : players) {
    times.stages.push_back(player.clock().times());
    times.step = std::max(times.step, times.stages.back().step);
  }
  // The last stage's last chunk has the pace of the whole to its last microbatch.
  if (count > 1) times.cycle = cycle_of(players.back().sent().gradients.back(), 2 * stages.size());
  return times;
}

}  // namespace meshplan::planner

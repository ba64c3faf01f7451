#include "planner/cost/times.h"

#include <algorithm>

#include "planner/cost/pipeline_player.h"
#include "planner/program/schedule.h"

namespace meshplan::planner {
namespace {

/// A rank's time, with what compute stood still for.
class AccountedRank {
 public:
  explicit AccountedRank(const std::vector<PricedInstruction>& kinds) : kinds_(&kinds) {}

  const StreamClock& clock() const { return clock_; }

  void play(const PlayedInstruction& instruction) {
    wait(instruction.waits);
    const InstructionCost& cost = (*kinds_)[instruction.kind].cost;
    run(cost.before);
    if (instruction.queue == kNoQueue) return;
    issue(instruction.queue, *cost.issued);
    run(cost.after);
  }

  void wait_for_message(double time) { wait(time, Axis::kPp); }

  struct Mark {
    StreamClock::Mark clock;
    double kernels;
    std::array<double, kAxes.size()> exposed;
  };
  Mark mark(const QueueUse& use) const { return {clock_.mark(use), kernels_, exposed_}; }
  bool is_steady_since(const Mark& before, const QueueUse& use) const {
    return clock_.is_steady_since(before.clock, use);
  }
  void end_unsteady(const Repeated& /*repeated*/) {}
  void skip(const Mark& before, const Repeated& repeated, std::int64_t times) {
    clock_.skip(before.clock, repeated.use, times);
    const auto factor = static_cast<double>(times);
    kernels_ += factor * (kernels_ - before.kernels);
    for (std::size_t a = 0; a < kAxes.size(); ++a)
      exposed_[a] += factor * (exposed_[a] - before.exposed[a]);
  }

  StepTimes times() const {
    StepTimes times{};
    times.step = common::Seconds(clock_.end());
    times.compute = common::Seconds(kernels_);
    for (std::size_t a = 0; a < kAxes.size(); ++a) times.exposed[a] = common::Seconds(exposed_[a]);
    return times;
  }

 private:
  void issue(Queue queue, const IssuedCollective& collective) {
    const double end = clock_.issue(queue, collective.duration.value);
    for (std::size_t age = kRememberedEnds - 1; age > 0; --age)
      axes_[end_index(queue, age)] = axes_[end_index(queue, age - 1)];
    axes_[end_index(queue, 0)] = collective.axis;
    expose(collective.axis, collective.taken.value);
    if (collective.awaited) wait(end, collective.axis);
  }

  /// Waiting is for the later of two.
  void wait(const std::array<EndIndex, 2>& ends) {
    EndIndex later = ends[0];
    if (later == kNoEnd) return;
    if (ends[1] != kNoEnd && clock_.end(ends[1]) >= clock_.end(later)) later = ends[1];
    wait(clock_.end(later), axes_[later]);
  }

  void wait(double end, Axis axis) {
    if (end > clock_.compute()) expose(axis, end - clock_.compute());
  }

  void expose(Axis axis, double seconds) {
    clock_.compute_for(seconds);
    exposed_[static_cast<std::size_t>(axis)] += seconds;
  }

  void run(const ComputeTime& time) {
    clock_.compute_for(time.total.value);
    kernels_ += time.kernels.value;
    for (std::size_t a = 0; a < kAxes.size(); ++a) exposed_[a] += time.exposed[a].value;
  }

  const std::vector<PricedInstruction>* kinds_;
  StreamClock clock_;
  /// Of the collectives whose ends the clock remembers, by EndIndex.
  std::array<Axis, kQueues * kRememberedEnds> axes_{};
  double kernels_ = 0;
  std::array<double, kAxes.size()> exposed_{};
};

using AccountedPlayer = Player<AccountedRank>;

/// The stage's program, which may be played with fewer rounds where it has one chunk of blocks.
Playback playback_of(const PricedStage& stage) {
  const Layout& layout = stage.context.layout;
  Playback playback = playback_of(stage.program.shape);
  if (layout.virtual_stages > 1) return playback;
  const std::int64_t ahead = warm_up_passes(stage.context.stage, layout);
  let_runs_grow({ahead, layout.accumulation - ahead, ahead}, first_run(stage.context.job),
                playback.phases);
  return playback;
}

}  // namespace

StepTimes play_times(const PricedProgram& program) {
  const Playback playback = playback_of(program.shape);
  AccountedPlayer player(playback, Growth{}, AccountedRank(program.kinds));
  player.play();
  return player.rank().times();
}

PipelineTimes play_pipeline(const std::vector<PricedStage>& stages) {
  const Layout& layout = stages.front().context.layout;
  std::vector<Playback> playbacks;
  for (const PricedStage& stage : stages) playbacks.push_back(playback_of(stage));
  const auto chunks = static_cast<std::size_t>(layout.virtual_stages);
  const auto stages_without = [&](std::int64_t rounds) {
    Growth growth{};
    growth[kRegions + kInTurn] = -rounds;
    std::vector<AccountedPlayer> players;
    for (std::size_t s = 0; s < stages.size(); ++s)
      players.emplace_back(playbacks[s], growth, AccountedRank(stages[s].program.kinds), chunks);
    return players;
  };
  PlayedPipeline<AccountedRank> pipeline;
  if (chunks == 1) {
    pipeline = play_rounds(std::ssize(stages), layout.accumulation, stages_without);
  } else {
    pipeline.stages = stages_without(0);
    play_beside_each_other(pipeline.stages);
  }
  PipelineTimes times;
  for (const AccountedPlayer& player : pipeline.stages) {
    times.stages.push_back(player.rank().times());
    times.played = std::max(times.played, times.stages.back().step);
  }
  times.step = times.played + common::Seconds(pipeline.rest);
  if (const auto cycle = cycle_of(pipeline.stages)) times.cycle = common::Seconds(*cycle);
  return times;
}

}  // namespace meshplan::planner

#include "simulator/simulate.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "common/complaints.h"
#include "formats/chrome_trace.h"

namespace meshplan::simulator {
namespace {

using planner::Axis;
using planner::kAxes;

/// A few minutes, and what one machine holds.
constexpr double kMostEvents = 2e10;
constexpr std::size_t kMostTimelines = 64;

void require_timelines(const std::vector<std::int64_t>& ranks, std::int64_t count) {
  common::Complaints complaints;
  if (ranks.size() > kMostTimelines) {
    complaints.add("--trace-ranks",
                   fmt::format("{} ranks; at most {} are traced", ranks.size(), kMostTimelines));
  }
  for (std::int64_t rank : ranks) {
    if (rank >= 0 && rank < count) continue;
    complaints.add("--trace-ranks", fmt::format("there is no rank {}; the layout has ranks 0 to {}",
                                                rank, count - 1));
  }
  complaints.throw_if_any("scenario");
}

void require_affordable(const std::vector<Score>& scores, std::int64_t ranks) {
  double events = 0;
  for (const Score& score : scores)
    events += static_cast<double>(score.beats.size()) * static_cast<double>(ranks);
  if (events <= kMostEvents) return;
  throw common::Error(common::ErrorCode::kInvalidInput,
                      fmt::format("{:.2g} events; at most {:.2g} are played: use a smaller "
                                  "accumulation, or a scenario that leaves ranks alike",
                                  events, kMostEvents),
                      "--every-rank");
}

/// Times of a stage as one rank's.
Picoseconds mean(const std::vector<Picoseconds>& times) {
  double sum = 0;
  const bool alike = std::ranges::all_of(times, [&](Picoseconds t) { return t == times.front(); });
  if (alike) return times.front();
  for (Picoseconds time : times) sum += static_cast<double>(time);
  return static_cast<Picoseconds>(sum / static_cast<double>(times.size()));
}

/// Kernels of a rank: all that compute did and was not exposed.
Picoseconds kernel_time(const StageTimes& times, std::size_t rank) {
  Picoseconds time = times.compute[rank];
  for (const auto& exposed : times.exposed) time -= exposed[rank];
  return time;
}

Picoseconds shared_links(const Score& score) {
  Picoseconds shared = 0;
  for (const Beat& beat : score.beats) shared += beat.shared;
  return shared;
}

/// Plays a step, and reads off what is told of it.
class Simulation {
 public:
  Simulation(const planner::Plan& plan, const SimulationRequest& request)
      : plan_(plan),
        request_(request),
        every_rank_(request.every_rank || tells_ranks_apart(request.scenario)),
        stages_(plan.layout.mesh.sizes[Axis::kPp]),
        ranks_of_stage_(planner::world_size(plan.layout.mesh) / stages_),
        ranks_(every_rank_ ? ranks_of_stage_ : 1),
        scores_(write_scores(plan, request.scenario)),
        differences_(differences_of(request.scenario, plan.layout.mesh)) {}

  SimulatedStep run() {
    require_affordable(scores_, ranks_);
    require_countable(scores_, differences_.longest());
    Engine engine(scores_, plan_.layout.mesh, static_cast<std::size_t>(ranks_), differences_);
    std::vector<Place> watched;
    for (std::size_t s = 0; s < scores_.size(); ++s) watched.push_back({s, 0});
    for (std::int64_t rank : request_.timelines) {
      if (std::ranges::find(watched, place_of(rank)) == watched.end())
        watched.push_back(place_of(rank));
    }
    engine.watch(watched);
    engine.play(request_.progress);
    step_.every_rank = every_rank_;
    step_.ranks = ranks_ * stages_;
    step_.events = engine.events();
    step_.step_time = engine.step_time();
    find_peak(engine);
    add_up(engine);
    if (engine.causes().remembers()) {
      step_.critical_path = critical_path(
          scores_, engine, formats::to_picoseconds(plan_.cluster.device.launch_overhead));
    }
    for (std::int64_t rank : request_.timelines) {
      const Place place = place_of(rank);
      step_.timelines.push_back(timeline_of(scores_[place.stage], engine, place, true));
      step_.timelines.back().rank = rank;
    }
    for (Score& score : scores_) step_.instructions.push_back(std::move(score.instructions));
    step_.times = engine.times();
    return std::move(step_);
  }

 private:
  Place place_of(std::int64_t rank) const {
    return {static_cast<std::size_t>(rank / ranks_of_stage_),
            every_rank_ ? static_cast<std::size_t>(rank % ranks_of_stage_) : 0};
  }

  /// Ranks of a stage hold alike, whatever their times.
  void find_peak(const Engine& engine) {
    for (std::size_t s = 0; s < scores_.size(); ++s) {
      step_.peaks.push_back(timeline_of(scores_[s], engine, {s, 0}, false).peak);
      const SimulatedPeak& peak = step_.peaks.back();
      if (peak.total <= step_.peak_memory) continue;
      step_.stage = static_cast<std::int64_t>(s);
      step_.peak = peak.breakdown;
      step_.peak_memory = peak.total;
      step_.peak_time = peak.time;
      step_.peak_instruction = planner::describe(scores_[s].stage.context.model,
                                                 scores_[s].instructions[peak.instruction]);
    }
  }

  /// The last one of those that compute longest.
  void find_computing_stage(const Engine& engine) {
    for (std::size_t s = 0; s < scores_.size(); ++s) {
      const StageTimes& times = engine.times()[s];
      std::vector<Picoseconds> kernels(times.compute.size());
      for (std::size_t r = 0; r < kernels.size(); ++r) kernels[r] = kernel_time(times, r);
      const Picoseconds compute = mean(kernels);
      if (compute < step_.compute_time) continue;
      step_.compute_time = compute;
      step_.computing_stage = static_cast<std::int64_t>(s);
    }
  }

  void add_up(const Engine& engine) {
    find_computing_stage(engine);
    const StageTimes& shown = engine.times()[static_cast<std::size_t>(step_.computing_stage)];
    for (std::size_t a = 0; a < kAxes.size(); ++a) step_.exposed[a] = mean(shown.exposed[a]);
    double idle = 0;
    step_.fastest.compute = step_.step_time;
    for (std::size_t s = 0; s < scores_.size(); ++s) {
      const StageTimes& times = engine.times()[s];
      step_.shared_links = std::max(step_.shared_links, shared_links(scores_[s]));
      for (std::size_t r = 0; r < times.end.size(); ++r) {
        const ComputingRank rank{
            static_cast<std::int64_t>(s) * ranks_of_stage_ + static_cast<std::int64_t>(r),
            kernel_time(times, r)};
        if (rank.compute > step_.slowest.compute) step_.slowest = rank;
        if (rank.compute < step_.fastest.compute) step_.fastest = rank;
        idle += static_cast<double>(times.exposed[static_cast<std::size_t>(Axis::kPp)][r] +
                                    step_.step_time - times.end[r]);
      }
    }
    if (stages_ > 1)
      step_.bubble =
          idle / (static_cast<double>(step_.step_time) * static_cast<double>(step_.ranks));
  }

  const planner::Plan& plan_;
  const SimulationRequest& request_;
  bool every_rank_;
  std::int64_t stages_;
  std::int64_t ranks_of_stage_;
  std::int64_t ranks_;
  std::vector<Score> scores_;
  Differences differences_;
  SimulatedStep step_;
};

}  // namespace

SimulatedStep simulate(const planner::Plan& plan, const SimulationRequest& request) {
  require_valid(request.scenario, plan.layout.mesh);
  require_timelines(request.timelines, planner::world_size(plan.layout.mesh));
  return Simulation(plan, request).run();
}

common::Json to_json(const SimulatedStep& step) {
  common::Json exposed;
  for (Axis axis : kAxes) {
    const Picoseconds time = step.exposed[static_cast<std::size_t>(axis)];
    if (time > 0 || !is_of_experts(axis)) exposed[to_string(axis)] = seconds(time);
  }
  common::Json peak;
  for (std::size_t c = 0; c < planner::kMemoryClasses; ++c) {
    peak[to_string(static_cast<planner::MemoryClass>(c))] = step.peak[c].value;
  }
  const auto rank = [](const ComputingRank& computing) -> common::Json {
    return {{"rank", computing.rank}, {"compute_s", seconds(computing.compute)}};
  };
  return {{"schema_version", 1},
          {"step_time_s", seconds(step.step_time)},
          {"compute_s", seconds(step.compute_time)},
          {"exposed_s", exposed},
          {"shared_links_s", seconds(step.shared_links)},
          {"pipeline_bubble", step.bubble},
          {"peak_memory_bytes", step.peak_memory.value},
          {"peak_memory", peak},
          {"peak_instruction", step.peak_instruction},
          {"peak_time_s", seconds(step.peak_time)},
          {"stage", step.stage},
          {"computing_stage", step.computing_stage},
          {"every_rank", step.every_rank},
          {"ranks", step.ranks},
          {"slowest_rank", rank(step.slowest)},
          {"fastest_rank", rank(step.fastest)},
          {"critical_path", step.critical_path ? to_json(*step.critical_path) : common::Json()},
          {"instructions", step.instructions[static_cast<std::size_t>(step.stage)].size()},
          {"events", step.events}};
}

}  // namespace meshplan::simulator

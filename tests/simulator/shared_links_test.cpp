#include "simulator/shared_links.h"

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>

#include <cmath>

#include "simulator/engine.h"
#include "simulator/simulate.h"
#include "tests/common/expect_error.h"
#include "tests/simulator/contended_plans.h"
#include "tests/simulator/fabric/finish_times.h"
#include "tests/simulator/hand_score.h"

namespace meshplan::simulator {
namespace {

using planner::Axis;
using planner::Plan;
using planner::Stream;
using testing::ElementsAre;

std::vector<Picoseconds> shared_of(const Score& score) {
  std::vector<Picoseconds> shared;
  for (const Beat& beat : score.beats) shared.push_back(beat.shared);
  return shared;
}

planner::Layout stages(std::int64_t count) {
  planner::Layout layout = planner::layout_of({});
  layout.mesh.sizes[Axis::kPp] = count;
  return layout;
}

Picoseconds step_time(const std::vector<Score>& scores, const planner::Layout& layout) {
  const Differences alike;
  Engine engine(scores, layout.mesh, 1, alike);
  engine.play();
  return engine.step_time();
}

/// A gather of 100 from 0 on; kernels 40; a reduction of 60 over the same adapters; kernels 50, a
/// wait for both. From 40 on each has half: the gather's other 60 and the reduction end at 160.
TEST(SharedLinks, SlowAGatherAndAReductionOverTheSameAdapters) {
  HandScore hand;
  const BeatIndex gather = hand.over_adapters(Stream::kGather, 100);
  hand.kernels(40);
  const BeatIndex reduction = hand.over_adapters(Stream::kReduce, 60);
  hand.kernels(50);
  hand.wait(gather);
  hand.wait(reduction);
  hand.kernels(5);
  std::vector<Score> scores = {hand.score};
  EXPECT_EQ(step_time(scores, stages(1)), 105);
  share_links(scores, stages(1), {});
  EXPECT_THAT(shared_of(scores[0]), ElementsAre(60, 0, 60, 0, 0, 0, 0));
  EXPECT_EQ(step_time(scores, stages(1)), 165);
}

/// With half of the adapters' bandwidth the gather is at 20 of 100 when the reduction comes; both
/// go on at a quarter: the reduction's 60 end at 40 + 240 = 280, the gather's last 20 at 320. Alone
/// they take 200 and 120, so sharing costs 120 each.
TEST(SharedLinks, AreThoseOfTheStagesWorstNode) {
  HandScore hand;
  hand.over_adapters(Stream::kGather, 100);
  hand.kernels(40);
  hand.over_adapters(Stream::kReduce, 60);
  std::vector<Score> scores = {hand.score};
  planner::Layout layout = stages(1);
  layout.mesh.sizes[Axis::kDpShard] = 2;
  share_links(scores, layout, {.degraded_links = {{1, 0.5}}});
  EXPECT_THAT(shared_of(scores[0]), ElementsAre(120, 0, 120));
}

/// What compute waits for before it issues more ends undisturbed.
TEST(SharedLinks, SlowNothingThatHasEnded) {
  HandScore hand;
  hand.wait(hand.over_adapters(Stream::kGather, 100));
  hand.wait(hand.over_adapters(Stream::kReduce, 60));
  std::vector<Score> scores = {hand.score};
  share_links(scores, stages(1), {});
  EXPECT_THAT(shared_of(scores[0]), ElementsAre(0, 0, 0, 0));
}

/// Stage 0 sends 100 at 0, has stage 1's message at 30 and then reduces 35 over the same adapters:
/// the message has 70 left. At half pace the reduction ends at 30 + 70 = 100, when the message has
/// 35 left: it arrives at 135.
TEST(SharedLinks, SlowAMessageByWhatItsSenderDoesLater) {
  HandScore first;
  first.send(0, 0, 100);
  first.receive(1);
  first.over_adapters(Stream::kReduce, 35);
  HandScore second;
  second.send(1, 0, 30);
  second.receive(0);
  second.kernels(10);
  std::vector<Score> scores = {first.score, second.score};
  share_links(scores, stages(2), {});
  EXPECT_THAT(shared_of(scores[0]), ElementsAre(35, 0, 35));
  EXPECT_THAT(shared_of(scores[1]), ElementsAre(0, 0, 0));
  EXPECT_EQ(step_time(scores, stages(2)), 145);
}

TEST(SharedLinks, RefuseStagesThatWaitForEachOther) {
  HandScore first;
  first.over_adapters(Stream::kGather, 10);
  first.over_adapters(Stream::kReduce, 10);
  first.receive(1);
  first.send(0, 5);
  HandScore second;
  second.receive(0);
  second.send(1, 5);
  std::vector<Score> scores = {first.score, second.score};
  tests::expect_error(
      common::ErrorCode::kInternal, [&] { share_links(scores, stages(2), {}); }, "simulator",
      "in a circle");
}

/// The collectives of a stage as the engine played them, as transfers from where they began to
/// move.
struct PlayedTransfers {
  std::vector<Transfer> transfers;
  std::vector<Picoseconds> ends;

  PlayedTransfers(const Score& score, const std::vector<BeatTimes>& times) {
    for (std::size_t b = 0; b < score.beats.size(); ++b) {
      const Move& move = score.move_of(score.beats[b]);
      if (move.kind != BeatKind::kCollective || move.meeting == Meeting::kStages) continue;
      Flow flow{.uses = {}, .limit = move.loads.rate > 0 ? move.loads.rate : 1};
      for (std::size_t tier = 0; tier < kLinkTiers; ++tier) {
        if (move.loads.parts[tier] > 0)
          flow.uses.push_back(
              {static_cast<std::int32_t>(tier), move.loads.parts[tier] / flow.limit});
      }
      transfers.push_back({flow, static_cast<double>(times[b].start + move.duration.fixed),
                           static_cast<double>(move.duration.transfer) * flow.limit});
      ends.push_back(times[b].end);
    }
  }
};

/// Collectives end when transfers do that begin at the same times, over links that are shared anew
/// at every event.
TEST(SharedLinks, EndCollectivesAsTransfersOverTheLinks) {
  constexpr std::size_t kMostTransfers = 1500;
  const std::vector<double> capacities(kLinkTiers, 1);
  double worst = 0;
  std::size_t compared = 0;
  int plans = 0;
  const bool held = rc::check([&] {
    const Plan plan = any_contended_plan();
    const std::vector<Score> scores = write_scores(plan, {.shared_links = true});
    const Differences alike;
    Engine engine(scores, plan.layout.mesh, 1, alike);
    std::vector<Place> places;
    for (std::size_t s = 0; s < scores.size(); ++s) places.push_back({s, 0});
    engine.watch(places);
    engine.play();
    const bool is_shared = std::ranges::any_of(scores, [](const Score& score) {
      return std::ranges::any_of(score.beats, [](const Beat& beat) { return beat.shared > 0; });
    });
    if (is_shared) ++plans;
    for (const Place& place : places) {
      const PlayedTransfers played(scores[place.stage], engine.watched(place));
      if (played.transfers.size() > kMostTransfers) continue;
      const std::vector<double> expected = finish_times(capacities, played.transfers);
      for (std::size_t t = 0; t < expected.size(); ++t) {
        const double apart = std::abs(static_cast<double>(played.ends[t]) - expected[t]);
        worst = std::max(worst, apart / static_cast<double>(engine.step_time()));
      }
      compared += expected.size();
    }
  });
  fmt::print(
      "{} collectives, of {} plans whose links are shared: ends {:.1e} of the step apart at most, "
      "tolerance 1e-6\n",
      compared, plans, worst);
  EXPECT_TRUE(held);
  EXPECT_GE(plans, 30);
  EXPECT_LT(worst, 1e-6);
}

/// A step takes no less for sharing links. Without stages, whose messages others may delay, it
/// takes no more than if nothing ran at once: wherever compute waits some link is full, or a
/// collective has its own pace.
RC_GTEST_PROP(SharedLinks, CostNoMoreThanNoOverlapDoes, ()) {
  const Plan plan = any_contended_plan();
  const auto step = [&](const Scenario& scenario) {
    SimulationRequest request;
    request.scenario = scenario;
    return simulate(plan, request);
  };
  const SimulatedStep shared = step({.shared_links = true});
  const SimulatedStep own = step({});
  RC_ASSERT(own.shared_links == 0);
  RC_ASSERT(shared.step_time >= own.step_time);
  if (shared.shared_links == 0) RC_ASSERT(shared.step_time == own.step_time);
  RC_ASSERT(shared.peak == own.peak);
  if (plan.layout.mesh.sizes[Axis::kPp] == 1)
    RC_ASSERT(step({.overlap = 1, .shared_links = true}).step_time <=
              step({.no_overlap = true, .shared_links = true}).step_time);
}

}  // namespace
}  // namespace meshplan::simulator

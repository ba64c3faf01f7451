#include "simulator/engine.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "simulator/critical_path.h"
#include "tests/common/expect_error.h"
#include "tests/planner/plans.h"
#include "tests/simulator/hand_score.h"

namespace meshplan::simulator {
namespace {

using planner::Axis;
using planner::Stream;
using testing::ElementsAre;

planner::DeviceMesh mesh_of(const planner::MeshSizes& sizes) {
  return planner::layout_of(sizes).mesh;
}

/// kernels 100, all-reduce over tp 10 and a wait for it, kernels 50, on two ranks of tp of which
/// the second is slower by a tenth:
///
///   rank 0   0-100, waits until 110 for rank 1, reduces 110-120, 120-170
///   rank 1   0-110, reduces 110-120, 120-175
TEST(Engine, SlowsATensorParallelGroupByItsSlowestRank) {
  HandScore hand;
  hand.kernels(100);
  hand.wait(hand.collective(Stream::kTp, Axis::kTp, 10));
  hand.kernels(50);
  const std::vector<Score> scores = {hand.score};
  const planner::DeviceMesh mesh = mesh_of({.tp = 2});
  const Differences differences = differences_of({.slow_ranks = {{1, 1.1}}}, mesh);
  Engine engine(scores, mesh, 2, differences);
  engine.watch({{0, 0}});
  engine.play();
  EXPECT_THAT(engine.times()[0].end, ElementsAre(170, 175));
  EXPECT_THAT(engine.times()[0].exposed[static_cast<std::size_t>(Axis::kTp)], ElementsAre(20, 10));
  EXPECT_EQ(engine.step_time(), 175);
  EXPECT_EQ(engine.events(), 6);
  const std::vector<BeatTimes>& rank0 = engine.watched({0, 0});
  EXPECT_EQ(rank0[1].start, 110);
  EXPECT_EQ(rank0[1].end, 120);
  EXPECT_EQ(rank0[2].compute, 120);
}

/// kernels 100, a reduction of 80 over two ranks of dp beside kernels of 100, a wait, kernels 20.
/// Alike: the reduction 100-180 is hidden by the kernels 100-200, and the step ends at 220. With
/// the second rank at half speed:
///
///   rank 0   0-100, 100-200 beside the reduction, waits until 280, 280-300
///   rank 1   0-200, reduces 200-280 beside 200-400, 400-440
TEST(Engine, HidesAReductionUntilARankComesLate) {
  HandScore hand;
  hand.kernels(100);
  const BeatIndex reduction = hand.collective(Stream::kReduce, Axis::kDpShard, 80);
  hand.kernels(100);
  hand.wait(reduction);
  hand.kernels(20);
  const std::vector<Score> scores = {hand.score};
  const planner::DeviceMesh mesh = mesh_of({.dp_shard = 2});
  const Differences alike;
  Engine folded(scores, mesh, 1, alike);
  folded.play();
  EXPECT_EQ(folded.step_time(), 220);
  const Differences differences = differences_of({.slow_ranks = {{1, 2}}}, mesh);
  Engine engine(scores, mesh, 2, differences);
  engine.play();
  EXPECT_THAT(engine.times()[0].end, ElementsAre(300, 440));
  EXPECT_THAT(engine.times()[0].exposed[static_cast<std::size_t>(Axis::kDpShard)],
              ElementsAre(80, 0));
}

/// 2 x 2 ranks, a node for each pair of tp; rank 2, of the second node, is slower by 30. Groups of
/// dp are {0, 2} and {1, 3}: a gather of 40 begins at 130 for the first and at 100 for the second.
TEST(Engine, MakesGroupsOfTheMesh) {
  HandScore hand;
  hand.kernels(100);
  hand.collective(Stream::kGather, Axis::kDpShard, 40);
  const std::vector<Score> scores = {hand.score};
  const planner::DeviceMesh mesh = mesh_of({.dp_shard = 2, .tp = 2});
  const Differences differences = differences_of({.slow_ranks = {{2, 1.3}}}, mesh);
  Engine engine(scores, mesh, 4, differences);
  engine.play();
  EXPECT_THAT(engine.times()[0].end, ElementsAre(170, 140, 170, 140));
}

/// Four nodes of one rank, in two groups of dp_shard 2 and pairs over dp_replicate. Node 3 has a
/// quarter of its bandwidth: of a collective of 10 that does not depend on it and 30 that does, its
/// group {2, 3} takes 10 + 4 x 30 = 130, the others 40.
TEST(Engine, StretchesWhatPassesADegradedLink) {
  HandScore hand;
  hand.collective(Stream::kGather, Axis::kDpShard, 10, 30);
  const std::vector<Score> scores = {hand.score};
  planner::DeviceMesh mesh = mesh_of({.dp_replicate = 2, .dp_shard = 2});
  mesh.ranks_per_node = 1;
  const Differences differences = differences_of({.degraded_links = {{3, 0.25}}}, mesh);
  Engine engine(scores, mesh, 4, differences);
  engine.play();
  EXPECT_THAT(engine.times()[0].end, ElementsAre(40, 40, 130, 130));
}

/// Two stages, one microbatch; the first sends after 100, 5 on the way; the second computes for 200
/// and the gradient comes back, 5 on the way; backward 150. Then both sum the norm, 3.
///
///   stage 0   0-100, waits until 310, 310-460, sums 460-463
///   stage 1   waits until 105, 105-305, waits for stage 0 until 460, sums 460-463
TEST(Engine, PlaysStagesBesideEachOther) {
  HandScore first;
  first.kernels(100);
  first.send(0, 5);
  first.receive(1);
  first.kernels(150);
  first.meet_stages(3);
  HandScore second;
  second.receive(0);
  second.kernels(200);
  second.send(1, 5);
  second.meet_stages(3);
  const std::vector<Score> scores = {first.score, second.score};
  planner::DeviceMesh mesh = mesh_of({});
  mesh.sizes[Axis::kPp] = 2;
  const Differences alike;
  Engine engine(scores, mesh, 1, alike);
  engine.play();
  EXPECT_EQ(engine.step_time(), 463);
  EXPECT_EQ(engine.times()[0].exposed[0][0], 210 + 3);
  EXPECT_EQ(engine.times()[1].exposed[0][0], 105 + 155 + 3);
}

TEST(Engine, RefusesStagesThatWaitForEachOther) {
  HandScore first;
  first.receive(1);
  first.send(0, 5);
  HandScore second;
  second.receive(0);
  second.send(1, 5);
  const std::vector<Score> scores = {first.score, second.score};
  planner::DeviceMesh mesh = mesh_of({});
  mesh.sizes[Axis::kPp] = 2;
  const Differences alike;
  Engine engine(scores, mesh, 1, alike);
  tests::expect_error(
      common::ErrorCode::kInternal, [&] { engine.play(); }, "simulator", "in a circle");
}

}  // namespace
}  // namespace meshplan::simulator

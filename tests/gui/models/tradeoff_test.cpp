#include "gui/models/tradeoff.h"

#include <gtest/gtest.h>

#include "gui/models/traffic_curve.h"
#include "tests/gui/support.h"

namespace meshplan::gui {
namespace {

std::size_t pointsOf(const Tradeoff& cloud) {
  std::size_t points = 0;
  for (const TradeoffSeries& series : cloud.series) points += series.layouts.size();
  return points;
}

TEST(Tradeoff, HasEveryLayoutOnce) {
  Workspace workspace;
  settle(workspace, smallInputs());
  const LayoutSet& set = workspace.selection.set();
  const Tradeoff cloud = tradeoffOf(set, Quantity::kMemory, Quantity::kTimePerToken);
  EXPECT_FALSE(cloud.binned);
  EXPECT_EQ(pointsOf(cloud), set.size());
}

TEST(Tradeoff, BinnedKeepsTheFrontierWhole) {
  Workspace workspace;
  settle(workspace, smallInputs());
  const LayoutSet& set = workspace.selection.set();
  const Tradeoff cloud = tradeoffOf(set, Quantity::kMemory, Quantity::kTimePerToken, 10);
  EXPECT_TRUE(cloud.binned);
  EXPECT_LE(pointsOf(cloud), set.size());
  EXPECT_EQ(cloud.frontier.layouts.size(), set.frontier.size());
}

TEST(Tradeoff, NothingIsBetterThanTheFrontierInBoth) {
  Workspace workspace;
  settle(workspace, smallInputs());
  const LayoutSet& set = workspace.selection.set();
  ASSERT_FALSE(set.frontier.empty());
  for (std::size_t i = 0; i < set.size(); ++i) {
    if (!set.fits[i]) continue;
    const bool covered = std::any_of(set.frontier.begin(), set.frontier.end(), [&](std::size_t f) {
      return set.value(Quantity::kTimePerToken, f) <= set.value(Quantity::kTimePerToken, i) &&
             set.value(Quantity::kMemory, f) <= set.value(Quantity::kMemory, i);
    });
    EXPECT_TRUE(covered) << i;
  }
}

TEST(Crossing, IsWhereTheCurvesMeet) {
  const std::vector<TrafficPoint> points = {{.place = 1000, .tpWire = 10, .dpWire = 40},
                                            {.place = 4000, .tpWire = 160, .dpWire = 40}};
  const auto crossing = crossingOf(points);
  ASSERT_TRUE(crossing);
  EXPECT_NEAR(crossing->place, 2000, 1e-6);
  EXPECT_NEAR(crossing->tpWire, 40, 1e-9);
  EXPECT_FALSE(crossingOf({points[0]}));
  EXPECT_FALSE(crossingOf({}));
}

}  // namespace
}  // namespace meshplan::gui

#include "gui/models/pricing.h"

#include <gtest/gtest.h>

#include "gui/models/detailing.h"
#include "tests/gui/support.h"

namespace meshplan::gui {
namespace {

TEST(Pricing, GivesTheLayoutsOfTheNewestInputs) {
  Workspace workspace;
  for (int nodes = 1; nodes <= 200; ++nodes) {
    workspace.document.set(Field::kNodes, QString::number(1 + nodes % 16));
    if (nodes % 5 == 0) QTest::qWait(0);
  }
  workspace.document.set(Field::kNodes, "4");
  waitUntilReady(workspace);
  const LayoutSet& set = workspace.selection.set();
  EXPECT_EQ(set.problem->cluster.nodes, 4);
  ASSERT_NE(set.best, kNone);
  EXPECT_EQ(workspace.detailing.detail()->candidate.layout,
            set.layouts[workspace.selection.layout()]);
}

TEST(Pricing, QuickFiguresAreThoseOfTheEstimate) {
  Workspace workspace;
  settle(workspace, smallInputs());
  const LayoutSet& set = workspace.selection.set();
  const Problem& problem = *set.problem;
  double largest = 0;
  const std::size_t step = std::max<std::size_t>(1, set.size() / 200);
  for (std::size_t i = 0; i < set.size(); i += step) {
    const planner::Estimate exact =
        planner::estimate(problem.model, problem.cluster, problem.job, set.layouts[i]);
    ASSERT_TRUE(exact.violations.empty()) << planner::to_string(exact.violations);
    EXPECT_EQ(set.fits[i] != 0, exact.fits);
    EXPECT_EQ(set.value(Quantity::kMemory, i), static_cast<double>(exact.memory.peak_device.value));
    const double time = set.value(Quantity::kStepTime, i) / exact.step_time.value - 1;
    const double mfu = set.value(Quantity::kMfu, i) / exact.mfu - 1;
    largest = std::max({largest, std::abs(time), std::abs(mfu)});
  }
  std::printf("largest difference of time and MFU %.1e, tolerance 1e-9\n", largest);
  EXPECT_LE(largest, 1e-9);
}

TEST(Pricing, TheBestIsThePlannersBest) {
  Workspace workspace;
  settle(workspace, smallInputs());
  const LayoutSet& set = workspace.selection.set();
  ASSERT_FALSE(set.ranked.best.empty());
  EXPECT_EQ(set.best, set.indexOf(set.ranked.best.front().layout));
  for (std::size_t i = 0; i < set.size(); ++i) {
    if (!set.fits[i]) continue;
    EXPECT_GE(set.value(Quantity::kTimePerToken, i) * (1 + 1e-9),
              set.value(Quantity::kTimePerToken, set.best));
  }
}

TEST(Pricing, WrongInputsKeepTheLayoutsBefore) {
  Workspace workspace;
  settle(workspace, smallInputs());
  const auto before = workspace.pricing.set();
  workspace.document.set(Field::kSeqLength, "many");
  ASSERT_TRUE(eventually([&] { return !workspace.pricing.isBusy(); }));
  EXPECT_EQ(workspace.pricing.set(), before);
  ASSERT_EQ(workspace.pricing.errors().size(), 1U);
  EXPECT_EQ(workspace.pricing.errors()[0].field, Field::kSeqLength);
  workspace.document.undoStack()->undo();
  waitUntilReady(workspace);
  EXPECT_TRUE(workspace.pricing.errors().empty());
}

TEST(Pricing, NothingFitsIsNoError) {
  Workspace workspace;
  Inputs inputs = exampleInputs();
  inputs[Field::kModel] = "llama-3.1-405b";
  inputs[Field::kNodes] = "1";
  settle(workspace, inputs);
  EXPECT_EQ(workspace.selection.layout(), kNone);
  EXPECT_EQ(workspace.detailing.detail(), nullptr);
}

TEST(Selection, FollowsItsLayoutThroughInputs) {
  Workspace workspace;
  settle(workspace, smallInputs());
  const std::size_t last = workspace.selection.set().frontier.back();
  const planner::Layout layout = workspace.selection.set().layouts[last];
  workspace.selection.select(last);
  workspace.document.set(Field::kGpuPrice, "2");
  waitUntilReady(workspace);
  ASSERT_NE(workspace.selection.layout(), kNone);
  EXPECT_EQ(workspace.selection.set().layouts[workspace.selection.layout()], layout);
  workspace.document.set(Field::kTp, "8");
  workspace.document.set(Field::kDpReplicate, "2");
  waitUntilReady(workspace);
  EXPECT_EQ(workspace.selection.layout(), workspace.selection.set().best);
}

TEST(Workspace, AnOpenedPlanSelectsItsLayout) {
  const QTemporaryDir folder;
  const QString path = folder.filePath("plan.json");
  Workspace first;
  settle(first, smallInputs());
  first.selection.select(first.selection.set().frontier.back());
  waitUntilReady(first);
  const planner::Plan plan = first.detailing.detail()->plan();
  planner::save_plan(plan, path.toStdString());
  Workspace second;
  second.open(path);
  waitUntilReady(second);
  ASSERT_TRUE(second.detailing.detail());
  EXPECT_EQ(second.detailing.detail()->candidate.layout, plan.layout);
  EXPECT_EQ(second.detailing.detail()->problem->model, plan.model);
}

}  // namespace
}  // namespace meshplan::gui

#include "gui/views/run_view.h"

#include <gtest/gtest.h>

#include "formats/run_folder.h"
#include "tests/gui/support.h"

namespace meshplan::gui {
namespace {

/// Starting ranks takes many seconds on cores that are shared.
constexpr int kPatienceMilliseconds = 240'000;

bool comesTrue(const std::function<bool()>& so) {
  QDeadlineTimer deadline(kPatienceMilliseconds);
  while (!so() && !deadline.hasExpired()) QTest::qWait(50);
  return so();
}

Inputs twoByTwo() {
  Inputs inputs = exampleInputs();
  inputs[Field::kModel] = "demo-qwen2";
  inputs[Field::kCluster] = "local-cpu";
  inputs[Field::kNodes] = "1";
  inputs[Field::kGpusPerNode] = "4";
  inputs[Field::kSeqLength] = "128";
  inputs[Field::kGlobalBatch] = "4";
  inputs[Field::kMicrobatch] = "2";
  inputs[Field::kTp] = "2";
  inputs[Field::kDpShard] = "2";
  inputs[Field::kSharding] = "full_shard";
  inputs[Field::kCheckpointing] = "none";
  return inputs;
}

TEST(RunView, TrainsStopsAndResumes) {
  const QTemporaryDir folder;
  Workspace workspace;
  settle(workspace, twoByTwo());
  ASSERT_TRUE(workspace.detailing.detail());
  RunView view(workspace);
  view.setStorage(folder.path());
  view.setSteps(100'000);
  QString log;
  QObject::connect(&workspace.run, &TrainingRun::logged, [&](const QString& text) { log += text; });
  view.start();
  ASSERT_TRUE(
      comesTrue([&] { return workspace.run.steps().size() >= 3 || !workspace.run.isRunning(); }));
  ASSERT_TRUE(workspace.run.isRunning()) << log.toStdString();
  workspace.run.stop();
  ASSERT_TRUE(comesTrue([&] { return !workspace.run.isRunning(); })) << log.toStdString();
  QTest::qWait(1500);
  ASSERT_GE(workspace.run.steps().size(), 3U) << log.toStdString();
  const std::int64_t last = workspace.run.steps().back().step;

  log.clear();
  view.setSteps(static_cast<int>(last) + 6);
  view.start();
  ASSERT_TRUE(comesTrue([&] { return !workspace.run.isRunning(); })) << log.toStdString();
  ASSERT_TRUE(eventually([&] {
    return !workspace.run.steps().empty() && workspace.run.steps().back().step >= last + 5;
  })) << log.toStdString();
  EXPECT_TRUE(log.contains("ended with exit code 0")) << log.toStdString();
  const auto& steps = workspace.run.steps();
  for (std::size_t i = 1; i < steps.size(); ++i)
    EXPECT_EQ(steps[i].step, steps[i - 1].step + 1) << "a step is missing, or was done twice";
  ASSERT_TRUE(workspace.run.plan());
  const double predicted =
      static_cast<double>(workspace.run.plan()->estimate.memory.peak_allocated.value);
  const double measured = static_cast<double>(steps.back().peak_memory.value);
  std::printf("stopped after step %lld, went on to %lld; peak measured over predicted %.4f\n",
              static_cast<long long>(last), static_cast<long long>(steps.back().step),
              measured / predicted);
  EXPECT_NEAR(measured / predicted, 1, 0.02);
}

TEST(RunView, ARunsFolderThatIsDamagedIsTold) {
  const QTemporaryDir folder;
  QFile file(QString::fromStdString(formats::metrics_path(folder.path().toStdString()).string()));
  ASSERT_TRUE(file.open(QIODevice::WriteOnly));
  file.write("{\"step\": \"one\"}\n");
  file.close();
  TrainingRun run;
  run.follow(folder.path());
  ASSERT_TRUE(eventually([&] { return !run.failure().isEmpty(); }));
  EXPECT_TRUE(run.failure().contains("step")) << run.failure().toStdString();
}

TEST(TrainCommand, QuotesWhatAShellWouldTakeApart) {
  const QString command = trainCommand("my plan.json", {.storage = "/tmp/it's", .experiment = "a"});
  EXPECT_TRUE(command.startsWith("meshplan train 'my plan.json' ")) << command.toStdString();
  EXPECT_TRUE(command.contains("'/tmp/it'\\''s'")) << command.toStdString();
}

}  // namespace
}  // namespace meshplan::gui

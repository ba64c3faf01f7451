#include "gui/models/document.h"

#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <QDir>
#include <QFile>
#include <random>

#include "common/error.h"
#include "common/file.h"
#include "formats/run_folder.h"
#include "gui/models/autosave.h"
#include "gui/models/problem.h"
#include "tests/gui/support.h"

namespace meshplan::gui {
namespace {

TEST(Document, UndoRestoresEachField) {
  Document document;
  const Inputs before = document.inputs();
  for (const FieldInfo& info : allFields()) document.set(info.field, "7");
  for (std::size_t i = 0; i < kFields; ++i) document.undoStack()->undo();
  EXPECT_EQ(document.inputs(), before);
  for (std::size_t i = 0; i < kFields; ++i) document.undoStack()->redo();
  for (const FieldInfo& info : allFields()) EXPECT_EQ(document.inputs()[info.field], "7");
}

TEST(Document, ADragIsUndoneAsOne) {
  Document document;
  for (int tokens = 256; tokens < 8192; tokens += 256)
    document.set(Field::kSeqLength, QString::number(tokens));
  EXPECT_EQ(document.undoStack()->count(), 1);
  document.undoStack()->undo();
  EXPECT_EQ(document.inputs(), exampleInputs());
}

TEST(Session, IsReadBackAsItWasSaved) {
  const QTemporaryDir folder;
  const QString path = folder.filePath("a.meshplan.json");
  Session session{smallInputs(), planner::Layout{}};
  session.layout->mesh.sizes[planner::Axis::kTp] = 4;
  session.layout->checkpointed_blocks = 3;
  saveSession(session, path);
  EXPECT_EQ(loadSession(path), session);
  session.layout.reset();
  saveSession(session, path);
  EXPECT_EQ(loadSession(path), session);
}

/// The text with a few bytes changed or left out.
std::string damaged(std::string text, std::mt19937& random) {
  const auto changes = 1 + random() % 4;
  for (std::uint_fast32_t change = 0; change < changes && !text.empty(); ++change) {
    const std::size_t at = random() % text.size();
    if (random() % 3 == 0)
      text.erase(at, 1 + random() % 20);
    else
      text[at] = static_cast<char>(random() % 256);
  }
  return text;
}

/// One file of each sort that can be opened.
std::vector<std::string> filesOfEverySort(const QTemporaryDir& folder) {
  const std::string path = folder.filePath("a.json").toStdString();
  const auto textOf = [&] { return common::read_file(path, common::kGiB); };
  saveSession({smallInputs(), planner::Layout{}}, folder.filePath("a.json"));
  const std::string session = textOf();
  Workspace workspace;
  settle(workspace, smallInputs());
  const planner::Plan plan = workspace.detailing.detail()->plan();
  planner::save_plan(plan, path);
  return {session, textOf(), planner::to_json(plan.model).dump(2),
          planner::to_json(plan.cluster).dump(2)};
}

TEST(Document, OpensADamagedFileOrSaysWhatIsWrongAndKeepsTheInputs) {
  const QTemporaryDir folder;
  const QString path = folder.filePath("a.json");
  std::mt19937 random(7);
  int refused = 0;
  for (const std::string& whole : filesOfEverySort(folder)) {
    for (int i = 0; i < 250; ++i) {
      common::write_file(path.toStdString(), damaged(whole, random));
      Document document;
      try {
        document.open(path);
        resolve(document.inputs());
      } catch (const common::Error& error) {
        ++refused;
        EXPECT_NE(std::string(error.what()), "");
        EXPECT_EQ(document.inputs(), exampleInputs());
        EXPECT_EQ(document.undoStack()->count(), 0);
      }
    }
  }
  std::printf("%d of 1000 damaged files refused, the rest read\n", refused);
  EXPECT_GT(refused, 500);
}

/// A hundred steps as a run writes them.
std::string someMetrics() {
  std::string lines;
  for (int step = 1; step <= 100; ++step) {
    formats::StepMetrics metrics;
    metrics.step = step;
    metrics.loss = 7.0 / step;
    metrics.tokens_per_second = 1e4;
    metrics.peak_memory = common::Bytes(1 << 20);
    lines += formats::to_json(metrics).dump() + "\n";
  }
  return lines;
}

TEST(TrainingRun, ReadsDamagedMetricsOrSaysWhatIsWrong) {
  const QTemporaryDir folder;
  const auto path = formats::metrics_path(folder.path().toStdString());
  const std::string whole = someMetrics();
  std::mt19937 random(13);
  TrainingRun run;
  int refused = 0;
  for (int i = 0; i < 250; ++i) {
    common::write_file(path, damaged(whole, random));
    run.follow(folder.path());
    ASSERT_TRUE(eventually([&] { return !run.isReading(); })) << "round " << i;
    ASSERT_TRUE(run.steps().empty() || run.failure().isEmpty());
    ASSERT_FALSE(run.steps().empty() && run.failure().isEmpty()) << "round " << i;
    if (!run.failure().isEmpty()) ++refused;
  }
  std::printf("%d of 250 damaged metrics refused, the rest read\n", refused);
  EXPECT_GT(refused, 50);
  common::write_file(path, whole);
  run.follow(folder.path());
  ASSERT_TRUE(eventually([&] { return run.steps().size() == 100; }));
}

TEST(Autosave, IsFoundAfterAKillAndNotAfterAClose) {
  const QTemporaryDir folder;
  Workspace workspace;
  const auto isEmpty = [&] { return QDir(folder.path()).isEmpty(QDir::Files); };
  {
    Autosave autosave(workspace.document, workspace.selection, folder.path());
    autosave.write();
    EXPECT_FALSE(findLeftSession(folder.path())) << "nothing has changed";
    workspace.document.setAll(smallInputs(), "test");
    autosave.write();
    EXPECT_FALSE(findLeftSession(folder.path())) << "the program runs";
    EXPECT_FALSE(isEmpty());
  }
  EXPECT_TRUE(isEmpty());
  waitUntilReady(workspace);
  for (int i = 0; i < 50; ++i) {
    const pid_t child = fork();
    if (child == 0) {
      Autosave autosave(workspace.document, workspace.selection, folder.path());
      autosave.write();
      for (;;) autosave.write();
    }
    eventually([&] { return !QDir(folder.path()).entryList({"*.json"}, QDir::Files).empty(); });
    usleep(static_cast<useconds_t>(100 * i));
    kill(child, SIGKILL);
    waitpid(child, nullptr, 0);
    const auto left = findLeftSession(folder.path());
    ASSERT_TRUE(left) << "round " << i;
    EXPECT_EQ(left->session.inputs, smallInputs());
    QFile::remove(left->path);
    EXPECT_FALSE(findLeftSession(folder.path()));
  }
}

TEST(Session, IsWholeAfterBeingKilledInASave) {
  const QTemporaryDir folder;
  const QString path = folder.filePath("a.meshplan.json");
  const Session first{exampleInputs(), planner::Layout{}};
  const Session second{smallInputs(), std::nullopt};
  saveSession(first, path);
  std::mt19937 random(11);
  int seconds = 0;
  for (int i = 0; i < 200; ++i) {
    const pid_t child = fork();
    if (child == 0) {
      for (;;) {
        saveSession(first, path);
        saveSession(second, path);
      }
    }
    usleep(static_cast<useconds_t>(200 + random() % 3000));
    kill(child, SIGKILL);
    waitpid(child, nullptr, 0);
    const Session read = loadSession(path);
    ASSERT_TRUE(read == first || read == second) << "round " << i;
    if (read == second) ++seconds;
  }
  std::printf("200 kills: %d found the first session, %d the second\n", 200 - seconds, seconds);
}

}  // namespace
}  // namespace meshplan::gui

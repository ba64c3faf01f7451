#include "gui/models/document.h"

#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <QFile>
#include <random>

#include "common/error.h"
#include "common/file.h"
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

TEST(Session, ThatIsDamagedChangesNothing) {
  const QTemporaryDir folder;
  const QString path = folder.filePath("a.meshplan.json");
  saveSession({smallInputs(), planner::Layout{}}, path);
  const std::string whole = common::read_file(path.toStdString(), common::kGiB);
  std::mt19937 random(7);
  int refused = 0;
  for (int i = 0; i < 1000; ++i) {
    std::string text = whole;
    const int changes = 1 + static_cast<int>(random() % 4);
    for (int change = 0; change < changes; ++change) {
      const std::size_t at = random() % text.size();
      if (random() % 3 == 0)
        text.erase(at, 1 + random() % 20);
      else
        text[at] = static_cast<char>(random() % 256);
    }
    common::write_file(path.toStdString(), text);
    Document document;
    try {
      document.open(path);
    } catch (const common::Error& error) {
      ++refused;
      EXPECT_NE(std::string(error.what()), "");
      EXPECT_EQ(document.inputs(), exampleInputs());
      EXPECT_EQ(document.undoStack()->count(), 0);
    }
  }
  std::printf("%d of 1000 damaged sessions refused, the rest read\n", refused);
  EXPECT_GT(refused, 500);
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

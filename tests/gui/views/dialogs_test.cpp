#include <gtest/gtest.h>

#include <QAction>
#include <QApplication>
#include <QDir>
#include <QFile>
#include <QFileDialog>
#include <QMessageBox>
#include <QPushButton>
#include <QTimer>

#include "gui/models/autosave.h"
#include "gui/views/main_window.h"
#include "gui/views/mesh_view.h"
#include "tests/gui/support.h"

namespace meshplan::gui {
namespace {

/// Answers the message boxes to come, and file dialogs with `path`; keeps what they said.
class Answers : public QObject {
 public:
  explicit Answers(QMessageBox::StandardButton button, const QString& path = {})
      : m_button(button), m_path(path) {
    connect(&m_timer, &QTimer::timeout, this, &Answers::answer);
    m_timer.start(10);
  }
  const QStringList& said() const { return m_said; }

 private:
  void answer() {
    QWidget* const dialog = QApplication::activeModalWidget();
    if (auto* box = qobject_cast<QMessageBox*>(dialog)) {
      m_said.append(box->text());
      QAbstractButton* wanted = box->button(m_button);
      (wanted != nullptr ? wanted : box->buttons().first())->click();
    } else if (auto* files = qobject_cast<QFileDialog*>(dialog)) {
      m_said.append(files->windowTitle());
      files->selectFile(m_path);
      // A file dialog keeps its own from others.
      auto* const any = static_cast<QDialog*>(files);
      m_path.isEmpty() ? any->reject() : any->accept();
    }
  }

  QMessageBox::StandardButton m_button;
  QString m_path;
  QStringList m_said;
  QTimer m_timer;
};

QString leaveSession(const Inputs& inputs) {
  QDir().mkpath(Autosave::usualFolder());
  const QString path = QDir(Autosave::usualFolder()).filePath("left.meshplan.json");
  saveSession({inputs, std::nullopt}, path);
  return path;
}

TEST(Recovery, RestoresWhatWasLeftIfTheUserWants) {
  const QString path = leaveSession(smallInputs());
  MainWindow window;
  const Answers answers(QMessageBox::Yes);
  window.offerLeftSession();
  ASSERT_EQ(answers.said().size(), 1);
  EXPECT_TRUE(answers.said().first().contains("not saved"));
  EXPECT_EQ(window.workspace().document.inputs(), smallInputs());
  EXPECT_FALSE(QFile::exists(path));
  window.workspace().document.undoStack()->undo();
  EXPECT_EQ(window.workspace().document.inputs(), exampleInputs());
}

TEST(Recovery, ForgetsItIfNot) {
  const QString path = leaveSession(smallInputs());
  MainWindow window;
  const Answers answers(QMessageBox::No);
  window.offerLeftSession();
  EXPECT_EQ(answers.said().size(), 1);
  EXPECT_EQ(window.workspace().document.inputs(), exampleInputs());
  EXPECT_FALSE(QFile::exists(path));
  window.offerLeftSession();
  EXPECT_EQ(answers.said().size(), 1) << "asks once";
}

class ExportMenu : public testing::Test {
 protected:
  explicit ExportMenu(const char* model = "llama-3.1-8b") {
    Inputs inputs = smallInputs();
    inputs[Field::kModel] = model;
    settle(m_window.workspace(), inputs);
  }
  void trigger(const char* target) {
    QAction* action = m_window.findChild<QAction*>(target);
    ASSERT_NE(action, nullptr);
    action->trigger();
  }

  MainWindow m_window;
  QTemporaryDir m_folder;
};

TEST_F(ExportMenu, SaysWhatATrainerCannotExpressAndExportsTheNearestPlan) {
  QApplication::setAttribute(Qt::AA_DontUseNativeDialogs);
  const QString path = m_folder.filePath("planned.toml");
  const Answers answers(QMessageBox::Yes, path);
  trigger("torchtitan");
  ASSERT_GE(answers.said().size(), 2);
  EXPECT_TRUE(answers.said().first().contains("loss_chunks="))
      << answers.said().first().toStdString();
  EXPECT_TRUE(answers.said().first().contains("a step instead of"));
  QFile file(path);
  ASSERT_TRUE(file.open(QIODevice::ReadOnly));
  EXPECT_TRUE(file.readAll().contains("tensor_parallel_degree"));
}

TEST_F(ExportMenu, WritesNothingIfTheNearestPlanIsNotWanted) {
  const QString path = m_folder.filePath("planned.toml");
  const Answers answers(QMessageBox::No, path);
  trigger("torchtitan");
  EXPECT_EQ(answers.said().size(), 1);
  EXPECT_FALSE(QFile::exists(path));
}

TEST_F(ExportMenu, HasEveryTarget) {
  for (const planner::ExportTarget& target : planner::export_targets())
    EXPECT_NE(m_window.findChild<QAction*>(target.name), nullptr) << target.name;
}

class OtherModel : public ExportMenu {
 protected:
  OtherModel() : ExportMenu("qwen2.5-0.5b") {}
};

TEST_F(OtherModel, IsRefusedInWordsWhereNothingNearIsThere) {
  const Answers answers(QMessageBox::Yes, m_folder.filePath("planned.toml"));
  trigger("torchtitan");
  ASSERT_EQ(answers.said().size(), 1);
  EXPECT_TRUE(answers.said().first().contains("model=qwen2.5-0.5b"));
}

TEST(MeshFacts, HaveRoomForAllTheirLinesInTheSmallestWindow) {
  MainWindow window;
  window.resize(1, 1);
  window.show();
  Inputs inputs = exampleInputs();
  inputs[Field::kNodes] = "2048";
  inputs[Field::kGlobalBatch] = "32768";
  settle(window.workspace(), inputs);
  auto& view = *window.findChild<MeshView*>();
  auto& facts = *view.findChild<QLabel*>("facts");
  EXPECT_TRUE(eventually([&] { return facts.height() >= facts.heightForWidth(facts.width()); }))
      << facts.height() << " for " << facts.heightForWidth(facts.width());
  EXPECT_GT(view.canvas().height(), 50);
}

}  // namespace
}  // namespace meshplan::gui

#include "gui/views/main_window.h"

#include <gtest/gtest.h>

#include <QAccessible>
#include <QAccessibleInterface>

#include "gui/views/inputs_panel.h"
#include "gui/views/layouts_view.h"
#include "gui/views/memory_view.h"
#include "gui/views/mesh_view.h"
#include "gui/views/timeline_view.h"
#include "gui/views/tradeoff_view.h"
#include "gui/views/traffic_view.h"
#include "tests/gui/support.h"

namespace meshplan::gui {
namespace {

class Window : public testing::Test {
 protected:
  Window() {
    settle(m_window.workspace(), smallInputs());
    m_window.show();
    QTest::qWait(20);
  }
  template <class Shown>
  Shown& view() {
    return *m_window.findChild<Shown*>();
  }
  Workspace& workspace() { return m_window.workspace(); }

  MainWindow m_window;
};

TEST_F(Window, APointThatIsClickedIsShownEverywhere) {
  auto& tradeoff = view<TradeoffView>();
  const std::size_t layout = workspace().selection.set().frontier.back();
  ASSERT_NE(layout, workspace().selection.layout());
  const QPoint at = tradeoff.pointOf(layout).toPoint();
  QTest::mouseClick(&tradeoff.plot(), Qt::LeftButton, {}, at);
  EXPECT_EQ(workspace().selection.layout(), tradeoff.layoutAt(at));
  waitUntilReady(workspace());
  const planner::Layout& shown =
      workspace().selection.set().layouts[workspace().selection.layout()];
  EXPECT_EQ(workspace().detailing.detail()->candidate.layout, shown);
  EXPECT_EQ(view<MeshView>().canvas().cells().mesh(), shown.mesh);
  EXPECT_EQ(view<LayoutsView>().table().currentIndex().isValid(), true);
  EXPECT_EQ(view<TimelineView>().canvas().timeline().end,
            workspace().detailing.detail()->step->step_time);
  EXPECT_GT(view<MemoryView>().plot().plottableCount(), 3);
}

TEST_F(Window, WithControlItCompares) {
  auto& tradeoff = view<TradeoffView>();
  const QPoint at = tradeoff.pointOf(workspace().selection.set().frontier.back()).toPoint();
  QTest::mouseClick(&tradeoff.plot(), Qt::LeftButton, Qt::ControlModifier, at);
  EXPECT_EQ(workspace().selection.compared(), tradeoff.layoutAt(at));
}

TEST_F(Window, AnAreaThatIsMarkedNarrowsTheTable) {
  auto& tradeoff = view<TradeoffView>();
  const QAbstractItemModel& rows = *view<LayoutsView>().table().model();
  const int before = rows.rowCount();
  const std::size_t layout = workspace().selection.set().frontier.back();
  const QPoint at = tradeoff.pointOf(layout).toPoint();
  Plot& plot = tradeoff.plot();
  QTest::mousePress(&plot, Qt::LeftButton, Qt::ShiftModifier, at - QPoint(6, 6));
  QTest::mouseMove(&plot, at + QPoint(6, 6));
  QTest::mouseRelease(&plot, Qt::LeftButton, Qt::ShiftModifier, at + QPoint(6, 6));
  ASSERT_TRUE(workspace().selection.area());
  EXPECT_TRUE(workspace().selection.area()->contains(workspace().selection.set(), layout));
  EXPECT_GE(rows.rowCount(), 1);
  EXPECT_LT(rows.rowCount(), before);
  workspace().selection.narrowTo(std::nullopt);
  EXPECT_EQ(rows.rowCount(), before);
}

TEST_F(Window, ARowOfTheTableSelects) {
  QTableView& table = view<LayoutsView>().table();
  table.setCurrentIndex(table.model()->index(5, 0));
  waitUntilReady(workspace());
  EXPECT_EQ(titleOf(workspace().detailing.detail()->candidate.layout),
            table.model()->index(5, 0).data().toString());
}

TEST_F(Window, AWrongFieldSaysWhatIsWrongThere) {
  InputsPanel& inputs = m_window.inputs();
  QTest::keyClicks(inputs.editor(Field::kNodes).lineEdit(), "x");
  ASSERT_TRUE(eventually([&] { return !inputs.complaint(Field::kNodes).isEmpty(); }));
  EXPECT_TRUE(inputs.complaint(Field::kNodes).contains("whole number"));
  EXPECT_TRUE(inputs.complaint(Field::kTp).isEmpty());
  workspace().document.undoStack()->undo();
  ASSERT_TRUE(eventually([&] { return inputs.complaint(Field::kNodes).isEmpty(); }));
  EXPECT_EQ(inputs.editor(Field::kNodes).currentText(), "2");
}

TEST_F(Window, ARankThatIsClickedIsSelected) {
  MeshCanvas& canvas = view<MeshView>().canvas();
  QTest::mouseClick(&canvas, Qt::LeftButton, {}, canvas.rectOf(9).center().toPoint());
  EXPECT_EQ(workspace().selection.rank(), 9);
  QTest::keyClick(&canvas, Qt::Key_Right);
  EXPECT_EQ(workspace().selection.rank(), 10);
  QTest::keyClick(&canvas, Qt::Key_Plus);
  QTest::keyClick(&canvas, Qt::Key_Home);
  EXPECT_EQ(workspace().selection.rank(), 10);
}

TEST_F(Window, TheSequenceIsDraggedAndUndone) {
  TrafficView& traffic = view<TrafficView>();
  m_window.tabs().setCurrentWidget(&traffic);
  QTest::qWait(20);
  Plot& plot = traffic.plot();
  const double from = plot.xAxis->coordToPixel(2048);
  const double to = plot.xAxis->coordToPixel(8192);
  const int y = plot.axisRect()->center().y();
  QTest::mousePress(&plot, Qt::LeftButton, {}, QPoint(static_cast<int>(from), y));
  QTest::mouseMove(&plot, QPoint(static_cast<int>(to), y));
  QTest::mouseRelease(&plot, Qt::LeftButton, {}, QPoint(static_cast<int>(to), y));
  EXPECT_GT(workspace().document.inputs()[Field::kSeqLength].toInt(), 4096);
  workspace().document.undoStack()->undo();
  EXPECT_EQ(workspace().document.inputs()[Field::kSeqLength], "2048");
}

TEST_F(Window, TheMicrobatchIsDraggedWithTheGlobalBatch) {
  TrafficView& traffic = view<TrafficView>();
  m_window.tabs().setCurrentWidget(&traffic);
  traffic.axisChoice().setCurrentIndex(static_cast<int>(TrafficAxis::kMicrobatch));
  QTest::qWait(20);
  const planner::Layout layout = workspace().detailing.detail()->trafficLayout;
  const std::int64_t wanted = layout.microbatch_size * 4;
  Plot& plot = traffic.plot();
  const auto at = [&](std::int64_t sequences) {
    return QPoint(static_cast<int>(plot.xAxis->coordToPixel(static_cast<double>(sequences))),
                  plot.axisRect()->center().y());
  };
  QTest::mousePress(&plot, Qt::LeftButton, {}, at(layout.microbatch_size));
  QTest::mouseMove(&plot, at(wanted));
  QTest::mouseRelease(&plot, Qt::LeftButton, {}, at(wanted));
  const Inputs& inputs = workspace().document.inputs();
  EXPECT_EQ(inputs[Field::kMicrobatch], QString::number(wanted));
  EXPECT_EQ(inputs[Field::kGlobalBatch].toLongLong(), 4 * planner::global_batch_size(layout));
  workspace().document.undoStack()->undo();
  EXPECT_EQ(inputs, smallInputs());
}

TEST_F(Window, EveryControlHasAnAccessibleName) {
  int controls = 0;
  for (QWidget* widget : m_window.findChildren<QWidget*>()) {
    // Parts that Qt makes of a control, and lists that pop up, are named by it.
    const bool isPart = widget->window() != &m_window || widget->objectName().startsWith("qt_") ||
                        widget->focusProxy() != nullptr ||
                        qobject_cast<QComboBox*>(widget->parentWidget()) != nullptr;
    if (isPart || !(widget->focusPolicy() & Qt::TabFocus)) continue;
    const QAccessibleInterface* accessible = QAccessible::queryAccessibleInterface(widget);
    ASSERT_NE(accessible, nullptr);
    ++controls;
    EXPECT_FALSE(accessible->text(QAccessible::Name).isEmpty())
        << widget->metaObject()->className() << " in "
        << widget->parentWidget()->metaObject()->className();
  }
  std::printf("%d controls have names\n", controls);
  EXPECT_GT(controls, 40);
}

TEST_F(Window, ClosesWhileItPrices) {
  workspace().document.set(Field::kNodes, "512");
  m_window.close();
}

TEST_F(Window, ShowsTracksOfManyStagesThatCanBeScrolledTo) {
  Inputs inputs = smallInputs();
  inputs[Field::kModel] = "llama-3-8b";
  inputs[Field::kPp] = "16";
  settle(workspace(), inputs);
  auto& timeline = view<TimelineView>();
  m_window.tabs().setCurrentWidget(&timeline);
  QTest::qWait(20);
  TimelineCanvas& canvas = timeline.canvas();
  const auto& detail = workspace().detailing.detail();
  ASSERT_TRUE(detail) << workspace().pricing.failure().toStdString();
  const auto& tracks = canvas.timeline().tracks;
  ASSERT_GE(tracks.size(), 16u);
  EXPECT_TRUE(tracks.back().title.contains("(rank 15)")) << tracks.back().title.toStdString();
  EXPECT_EQ(canvas.firstShown(), 0);
  QTest::keyClick(&canvas, Qt::Key_PageDown);
  EXPECT_GT(canvas.firstShown(), 0);
  canvas.scrollTo(1'000'000);
  EXPECT_LT(canvas.firstShown(), static_cast<int>(tracks.size()));
  canvas.scrollTo(-1);
  EXPECT_EQ(canvas.firstShown(), 0);
}

}  // namespace
}  // namespace meshplan::gui

#include "gui/models/layout_table.h"

#include <gtest/gtest.h>

#include <QAbstractItemModelTester>

#include "gui/models/comparison_table.h"
#include "tests/gui/support.h"

namespace meshplan::gui {
namespace {

TEST(LayoutTable, KeepsTheLawsOfItemModels) {
  Workspace workspace;
  LayoutTable table(workspace.selection);
  LayoutRows rows(table);
  ComparisonTable figures(workspace.detailing);
  using Tester = QAbstractItemModelTester;
  const Tester ofTable(&table, Tester::FailureReportingMode::Fatal);
  const Tester ofRows(&rows, Tester::FailureReportingMode::Fatal);
  const Tester ofFigures(&figures, Tester::FailureReportingMode::Fatal);
  settle(workspace, smallInputs());
  ASSERT_GT(table.rowCount(), 10);
  EXPECT_GT(figures.rowCount(), 10);
  EXPECT_EQ(figures.columnCount(), 2);
  workspace.selection.compareWith(workspace.selection.set().frontier.back());
  waitUntilReady(workspace);
  EXPECT_EQ(figures.columnCount(), 4);
  workspace.document.undoStack()->undo();
  waitUntilReady(workspace);
}

TEST(LayoutRows, ShowWhatFitsFastestFirst) {
  Workspace workspace;
  LayoutTable table(workspace.selection);
  LayoutRows rows(table);
  settle(workspace, smallInputs());
  const LayoutSet& set = workspace.selection.set();
  EXPECT_EQ(rows.rowCount(), static_cast<int>(set.fitting));
  const int time = LayoutTable::kFirstQuantity;
  for (int row = 1; row < rows.rowCount(); ++row) {
    EXPECT_LE(rows.index(row - 1, time).data(LayoutTable::kSortRole).toDouble(),
              rows.index(row, time).data(LayoutTable::kSortRole).toDouble());
  }
  rows.setShowsAll(true);
  EXPECT_EQ(rows.rowCount(), static_cast<int>(set.size()));
  rows.setWords("tp 8");
  EXPECT_GT(rows.rowCount(), 0);
  EXPECT_LT(rows.rowCount(), static_cast<int>(set.size()));
}

TEST(TableText, QuotesWhatItsFormatNeeds) {
  Workspace workspace;
  LayoutTable table(workspace.selection);
  settle(workspace, smallInputs());
  const QString csv = tableText(table, {0, 1}, TableFormat::kCsv);
  EXPECT_EQ(csv.count('\n'), 3);
  EXPECT_TRUE(csv.startsWith("Mesh,Choices,")) << csv.toStdString();
  const QString markdown = tableText(table, {0}, TableFormat::kMarkdown);
  EXPECT_EQ(markdown.count('\n'), 3);
  EXPECT_TRUE(markdown.startsWith("| Mesh | Choices |")) << markdown.toStdString();
}

}  // namespace
}  // namespace meshplan::gui

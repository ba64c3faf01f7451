// SPDX-License-Identifier: GPL-3.0-or-later
#include "gui/views/layouts_view.h"

#include <QClipboard>
#include <QContextMenuEvent>
#include <QGuiApplication>
#include <QHBoxLayout>
#include <QHeaderView>
#include <QMenu>

#include "planner/explain/rejections.h"

namespace meshplan::gui {
namespace {

constexpr std::size_t kReasons = 3;
constexpr int kMostCopied = 10'000;

}  // namespace

LayoutsView::LayoutsView(Workspace& workspace, QWidget* parent)
    : QWidget(parent),
      m_workspace(workspace),
      m_table(workspace.selection),
      m_rows(m_table),
      m_view(new QTableView(this)),
      m_filter(new QLineEdit(this)),
      m_all(new QCheckBox(tr("Also what does not fit"), this)),
      m_wholeTradeoff(new QPushButton(tr("Leave the marked area"), this)),
      m_rejected(new QLabel(this)) {
  m_filter->setPlaceholderText(tr("Filter: tp 8 full"));
  m_filter->setAccessibleName(tr("Filter of layouts"));
  m_filter->setClearButtonEnabled(true);
  auto* bar = new QHBoxLayout;
  bar->addWidget(m_filter, 1);
  bar->addWidget(m_all);
  bar->addWidget(m_wholeTradeoff);
  m_wholeTradeoff->setToolTip(tr("Shows layouts of the whole trade-off again"));
  m_wholeTradeoff->hide();
  m_view->setAccessibleName(tr("Layouts"));
  m_view->setModel(&m_rows);
  m_view->setSortingEnabled(true);
  m_view->sortByColumn(LayoutTable::kFirstQuantity, Qt::AscendingOrder);
  m_view->setSelectionBehavior(QAbstractItemView::SelectRows);
  m_view->setSelectionMode(QAbstractItemView::SingleSelection);
  m_view->setContextMenuPolicy(Qt::CustomContextMenu);
  m_view->setWordWrap(false);
  m_view->verticalHeader()->hide();
  m_view->verticalHeader()->setDefaultSectionSize(fontMetrics().height() + 6);
  QHeaderView* header = m_view->horizontalHeader();
  header->setSectionsMovable(true);
  header->setContextMenuPolicy(Qt::CustomContextMenu);
  const auto widthOf = [&](const QString& text) {
    return fontMetrics().horizontalAdvance(text) + 5 * fontMetrics().averageCharWidth();
  };
  for (int column = 0; column < m_table.columnCount(); ++column) {
    const QString title = m_table.headerData(column, Qt::Horizontal, Qt::DisplayRole).toString();
    m_view->setColumnWidth(column, std::max(widthOf(title), widthOf("1234 GiB")));
  }
  m_view->setColumnWidth(LayoutTable::kMesh,
                         widthOf("tp 8 · shard 128 · replicas 16 · microbatch 16 × 16"));
  m_view->setColumnWidth(LayoutTable::kChoices, widthOf("hybrid_shard_zero2, full checkpointing"));
  m_rejected->setWordWrap(true);
  auto* all = new QVBoxLayout(this);
  all->setContentsMargins(4, 4, 4, 4);
  all->addLayout(bar);
  all->addWidget(m_view, 1);
  all->addWidget(m_rejected);
  connect(m_filter, &QLineEdit::textChanged, &m_rows, &LayoutRows::setWords);
  connect(m_all, &QCheckBox::toggled, &m_rows, &LayoutRows::setShowsAll);
  connect(m_view->selectionModel(), &QItemSelectionModel::currentRowChanged, this,
          [this](const QModelIndex& row) {
            if (row.isValid()) m_workspace.selection.select(layoutOf(row));
          });
  connect(m_view, &QWidget::customContextMenuRequested, this, &LayoutsView::showMenu);
  connect(header, &QWidget::customContextMenuRequested, this, [this, header](const QPoint& at) {
    QMenu menu;
    for (int column = 0; column < m_table.columnCount(); ++column) {
      QAction* action =
          menu.addAction(m_table.headerData(column, Qt::Horizontal, Qt::DisplayRole).toString());
      action->setCheckable(true);
      action->setChecked(!header->isSectionHidden(column));
      connect(action, &QAction::toggled, header,
              [header, column](bool shown) { header->setSectionHidden(column, !shown); });
    }
    menu.exec(header->mapToGlobal(at));
  });
  connect(m_wholeTradeoff, &QPushButton::clicked, this,
          [this] { m_workspace.selection.narrowTo(std::nullopt); });
  connect(&workspace.selection, &Selection::areaChanged, this,
          [this] { m_wholeTradeoff->setVisible(m_workspace.selection.area().has_value()); });
  connect(&workspace.selection, &Selection::layoutChanged, this, &LayoutsView::follow);
  connect(&workspace.selection, &Selection::setChanged, this, &LayoutsView::showRejected);
}

std::size_t LayoutsView::layoutOf(const QModelIndex& row) const {
  return static_cast<std::size_t>(m_rows.mapToSource(row).row());
}

void LayoutsView::follow() {
  const std::size_t layout = m_workspace.selection.layout();
  const QModelIndex row = layout == kNone
                              ? QModelIndex()
                              : m_rows.mapFromSource(m_table.index(static_cast<int>(layout), 0));
  if (!row.isValid()) return m_view->clearSelection();
  if (row.row() == m_view->currentIndex().row()) return;
  m_view->setCurrentIndex(row);
  m_view->scrollTo(row);
}

void LayoutsView::showRejected() {
  const auto& rejected = m_workspace.selection.set().ranked.rejected;
  m_rejected->setVisible(!rejected.empty());
  if (rejected.empty()) return;
  m_rejected->setText(
      tr("Rejected by a rule, or too large at best:\n") +
      QString::fromStdString(planner::rejection_text(rejected, kReasons)).chopped(1));
}

void LayoutsView::copy(TableFormat format) {
  QList<int> rows;
  for (int row = 0; row < std::min(m_rows.rowCount(), kMostCopied); ++row) rows.append(row);
  QGuiApplication::clipboard()->setText(tableText(m_rows, rows, format));
}

void LayoutsView::showMenu(const QPoint& at) {
  QMenu menu;
  const QModelIndex row = m_view->indexAt(at);
  QAction* compare = menu.addAction(tr("Compare with this"), this, [this, row] {
    m_workspace.selection.compareWith(layoutOf(row));
  });
  compare->setEnabled(row.isValid());
  menu.addSeparator();
  menu.addAction(tr("Copy table as CSV"), this, [this] { copy(TableFormat::kCsv); });
  menu.addAction(tr("Copy table as Markdown"), this, [this] { copy(TableFormat::kMarkdown); });
  menu.exec(m_view->viewport()->mapToGlobal(at));
}

}  // namespace meshplan::gui

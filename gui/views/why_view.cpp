// SPDX-License-Identifier: GPL-3.0-or-later
#include "gui/views/why_view.h"

#include <QHeaderView>
#include <QSplitter>
#include <QVBoxLayout>

#include "gui/models/explanation_text.h"

namespace meshplan::gui {
namespace {

/// Tables, which have columns two spaces apart, keep their columns; other lines are wrapped.
QString htmlOf(const QString& text) {
  QString html;
  bool inTable = false;
  for (const QString& line : text.split('\n')) {
    const bool table = line.trimmed().contains("  ");
    if (table != inTable) html += table ? "<pre>" : "</pre>";
    inTable = table;
    html += line.toHtmlEscaped() + (table ? "\n" : "<br>");
  }
  return html + (inTable ? "</pre>" : "");
}

}  // namespace

WhyView::WhyView(Workspace& workspace, QWidget* parent)
    : QWidget(parent),
      m_workspace(workspace),
      m_table(workspace.detailing),
      m_words(new QTextBrowser(this)),
      m_figures(new QTableView(this)),
      m_best(new QPushButton(tr("Select the best"), this)),
      m_runnerUp(new QPushButton(tr("Compare with the runner-up"), this)) {
  m_words->setAccessibleName(tr("Explanation"));
  m_figures->setAccessibleName(tr("Figures of the selected layout"));
  m_figures->setModel(&m_table);
  m_figures->verticalHeader()->hide();
  m_figures->verticalHeader()->setDefaultSectionSize(fontMetrics().height() + 6);
  m_figures->horizontalHeader()->setSectionResizeMode(QHeaderView::ResizeToContents);
  m_figures->setSelectionMode(QAbstractItemView::ContiguousSelection);
  auto* buttons = new QHBoxLayout;
  buttons->addWidget(m_best);
  buttons->addWidget(m_runnerUp);
  buttons->addStretch();
  auto* left = new QWidget(this);
  auto* column = new QVBoxLayout(left);
  column->setContentsMargins(0, 0, 0, 0);
  column->addWidget(m_words, 1);
  column->addLayout(buttons);
  auto* halves = new QSplitter(this);
  halves->addWidget(left);
  halves->addWidget(m_figures);
  auto* all = new QVBoxLayout(this);
  all->setContentsMargins(4, 4, 4, 4);
  all->addWidget(halves);
  connect(m_best, &QPushButton::clicked, this,
          [this] { m_workspace.selection.select(m_workspace.selection.set().best); });
  connect(m_runnerUp, &QPushButton::clicked, this,
          [this] { m_workspace.selection.compareWith(runnerUp()); });
  connect(&workspace.detailing, &Detailing::detailChanged, this, &WhyView::rebuild);
  rebuild();
}

std::size_t WhyView::runnerUp() const {
  const LayoutSet& set = m_workspace.selection.set();
  for (const planner::Candidate& candidate : set.ranked.best) {
    const std::size_t layout = set.indexOf(candidate.layout);
    if (layout != m_workspace.selection.layout()) return layout;
  }
  return kNone;
}

void WhyView::rebuild() {
  const auto& detail = m_workspace.detailing.detail();
  const LayoutSet& set = m_workspace.selection.set();
  m_best->setEnabled(set.best != kNone && set.best != m_workspace.selection.layout());
  m_runnerUp->setEnabled(runnerUp() != kNone);
  m_words->setHtml(htmlOf(detail ? explanationText(*detail) : m_workspace.detailing.failure()));
}

}  // namespace meshplan::gui

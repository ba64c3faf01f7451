// SPDX-License-Identifier: GPL-3.0-or-later
#pragma once

#include <QPushButton>
#include <QTableView>
#include <QTextBrowser>
#include <QWidget>

#include "gui/models/comparison_table.h"
#include "gui/models/workspace.h"

namespace meshplan::gui {

/// Why the best layout is the best, what bounds the selected one, and its figures beside those of
/// another.
class WhyView : public QWidget {
  Q_OBJECT

 public:
  explicit WhyView(Workspace& workspace, QWidget* parent = nullptr);

 private:
  void rebuild();
  /// kNone where there is none.
  std::size_t runnerUp() const;

  Workspace& m_workspace;
  ComparisonTable m_table;
  QTextBrowser* m_words;
  QTableView* m_figures;
  QPushButton* m_best;
  QPushButton* m_runnerUp;
};

}  // namespace meshplan::gui

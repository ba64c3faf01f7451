// SPDX-License-Identifier: GPL-3.0-or-later
#pragma once

#include <QCheckBox>
#include <QLabel>
#include <QLineEdit>
#include <QPushButton>
#include <QTableView>
#include <QWidget>

#include "gui/models/layout_table.h"
#include "gui/models/workspace.h"

namespace meshplan::gui {

/// All layouts as a table to sort, filter and copy; what was rejected by a rule is told beneath.
class LayoutsView : public QWidget {
  Q_OBJECT

 public:
  explicit LayoutsView(Workspace& workspace, QWidget* parent = nullptr);

  QTableView& table() { return *m_view; }

 private:
  void follow();
  void copy(TableFormat format);
  void showMenu(const QPoint& at);
  std::size_t layoutOf(const QModelIndex& row) const;
  void showRejected();

  Workspace& m_workspace;
  LayoutTable m_table;
  LayoutRows m_rows;
  QTableView* m_view;
  QLineEdit* m_filter;
  QCheckBox* m_all;
  QPushButton* m_wholeTradeoff;
  QLabel* m_rejected;
};

}  // namespace meshplan::gui

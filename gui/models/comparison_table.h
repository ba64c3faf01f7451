// SPDX-License-Identifier: GPL-3.0-or-later
#pragma once

#include <QAbstractTableModel>
#include <QStringList>
#include <vector>

#include "gui/models/detailing.h"

namespace meshplan::gui {

/// A layout's figures row by row, and those of a second layout with the differences where there is
/// one.
class ComparisonTable : public QAbstractTableModel {
  Q_OBJECT

 public:
  explicit ComparisonTable(Detailing& detailing, QObject* parent = nullptr);

  int rowCount(const QModelIndex& parent = {}) const override;
  int columnCount(const QModelIndex& parent = {}) const override;
  QVariant data(const QModelIndex& index, int role = Qt::DisplayRole) const override;
  QVariant headerData(int section, Qt::Orientation orientation, int role) const override;

 private:
  /// What it is, the layout's, the second's, and the difference.
  using Row = std::array<QString, 4>;
  void rebuild();

  Detailing& m_detailing;
  std::vector<Row> m_rows;
  bool m_compares = false;
};

/// The facts of a layout in the order in which they are shown, each with a number to take the
/// difference of (NaN where there is none).
struct Fact {
  QString name;
  QString text;
  double number = 0;
};
std::vector<Fact> factsOf(const planner::Candidate& candidate);

}  // namespace meshplan::gui

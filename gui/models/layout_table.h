// SPDX-License-Identifier: GPL-3.0-or-later
#pragma once

#include <QAbstractTableModel>
#include <QSortFilterProxyModel>

#include "gui/models/selection.h"

namespace meshplan::gui {

/// Every layout that fits as a row, in the order of the set; others on demand.
class LayoutTable : public QAbstractTableModel {
  Q_OBJECT

 public:
  /// Columns before those of the quantities.
  enum Column { kMesh, kChoices, kFits, kFirstQuantity };
  /// What sorting compares: a number where there is one.
  static constexpr int kSortRole = Qt::UserRole;
  /// Whether the layout fits, in any column.
  static constexpr int kFitsRole = Qt::UserRole + 1;

  explicit LayoutTable(Selection& selection, QObject* parent = nullptr);

  const Selection& selection() const { return m_selection; }
  int rowCount(const QModelIndex& parent = {}) const override;
  int columnCount(const QModelIndex& parent = {}) const override;
  QVariant data(const QModelIndex& index, int role = Qt::DisplayRole) const override;
  QVariant headerData(int section, Qt::Orientation orientation, int role) const override;

 private:
  QString textAt(std::size_t layout, int column) const;
  void reset();

  Selection& m_selection;
  std::shared_ptr<const LayoutSet> m_set;
};

/// The table sorted, without layouts that do not fit unless they are asked for, and with rows that
/// hold the filter's words in any column; of the selection's area alone, where it has one.
class LayoutRows : public QSortFilterProxyModel {
  Q_OBJECT

 public:
  explicit LayoutRows(LayoutTable& table, QObject* parent = nullptr);

  void setShowsAll(bool showsAll);
  void setWords(const QString& words);

 protected:
  bool filterAcceptsRow(int row, const QModelIndex& parent) const override;

 private:
  const Selection& m_selection;
  bool m_showsAll = false;
  QStringList m_words;
};

enum class TableFormat { kCsv, kMarkdown };
/// These rows of any table, as text for the clipboard.
QString tableText(const QAbstractItemModel& model, const QList<int>& rows, TableFormat format);

}  // namespace meshplan::gui

// SPDX-License-Identifier: GPL-3.0-or-later
#include "gui/models/layout_table.h"

#include <algorithm>

#include "gui/models/colors.h"

namespace meshplan::gui {

LayoutTable::LayoutTable(Selection& selection, QObject* parent)
    : QAbstractTableModel(parent), m_selection(selection), m_set(selection.shared()) {
  connect(&selection, &Selection::setChanged, this, &LayoutTable::reset);
}

void LayoutTable::reset() {
  beginResetModel();
  m_set = m_selection.shared();
  endResetModel();
}

int LayoutTable::rowCount(const QModelIndex& parent) const {
  return parent.isValid() ? 0 : static_cast<int>(m_set->size());
}

int LayoutTable::columnCount(const QModelIndex& parent) const {
  return parent.isValid() ? 0 : kFirstQuantity + static_cast<int>(kQuantities);
}

QString LayoutTable::textAt(std::size_t layout, int column) const {
  switch (column) {
    case kMesh:
      return titleOf(m_set->layouts[layout]);
    case kChoices:
      return choicesOf(m_set->layouts[layout]);
    case kFits:
      return m_set->fits[layout] ? tr("fits") : tr("too large");
    default: {
      const auto quantity = static_cast<Quantity>(column - kFirstQuantity);
      return textOf(quantity, m_set->value(quantity, layout));
    }
  }
}

QVariant LayoutTable::data(const QModelIndex& index, int role) const {
  if (!checkIndex(index, CheckIndexOption::IndexIsValid)) return {};
  const auto layout = static_cast<std::size_t>(index.row());
  const int column = index.column();
  const bool number = column >= kFirstQuantity;
  switch (role) {
    case Qt::DisplayRole:
      return textAt(layout, column);
    case kSortRole:
      if (!number) return textAt(layout, column);
      return m_set->value(static_cast<Quantity>(column - kFirstQuantity), layout);
    case kFitsRole:
      return m_set->fits[layout] != 0;
    case Qt::TextAlignmentRole:
      return static_cast<int>((number ? Qt::AlignRight : Qt::AlignLeft) | Qt::AlignVCenter);
    case Qt::ForegroundRole:
      return m_set->fits[layout] ? QVariant() : QVariant(ink().faint);
    case Qt::ToolTipRole:
      return titleOf(m_set->layouts[layout]) + "\n" + choicesOf(m_set->layouts[layout]);
    default:
      return {};
  }
}

QVariant LayoutTable::headerData(int section, Qt::Orientation orientation, int role) const {
  if (orientation != Qt::Horizontal || section < 0 || section >= columnCount()) return {};
  if (section >= kFirstQuantity) {
    const QuantityInfo& info = infoOf(static_cast<Quantity>(section - kFirstQuantity));
    if (role == Qt::DisplayRole) return tr(info.label);
    if (role == Qt::ToolTipRole) return tr(info.help);
    return {};
  }
  if (role != Qt::DisplayRole) return {};
  return QStringList{tr("Mesh"), tr("Choices"), tr("Memory limit")}.at(section);
}

LayoutRows::LayoutRows(LayoutTable& table, QObject* parent)
    : QSortFilterProxyModel(parent), m_selection(table.selection()) {
  connect(&m_selection, &Selection::areaChanged, this, [this] { invalidateFilter(); });
  setSortRole(LayoutTable::kSortRole);
  setSourceModel(&table);
  sort(LayoutTable::kFirstQuantity);
}

void LayoutRows::setShowsAll(bool showsAll) {
  m_showsAll = showsAll;
  invalidateFilter();
}

void LayoutRows::setWords(const QString& words) {
  m_words = words.split(' ', Qt::SkipEmptyParts);
  invalidateFilter();
}

bool LayoutRows::filterAcceptsRow(int row, const QModelIndex& parent) const {
  const QModelIndex first = sourceModel()->index(row, LayoutTable::kMesh, parent);
  if (!m_showsAll && !first.data(LayoutTable::kFitsRole).toBool()) return false;
  const std::optional<Area>& area = m_selection.area();
  if (area && !area->contains(m_selection.set(), static_cast<std::size_t>(row))) return false;
  if (m_words.isEmpty()) return true;
  const auto textAt = [&](int column) { return first.siblingAtColumn(column).data().toString(); };
  const QString all = textAt(LayoutTable::kMesh) + " " + textAt(LayoutTable::kChoices);
  return std::all_of(m_words.begin(), m_words.end(),
                     [&](const QString& word) { return all.contains(word, Qt::CaseInsensitive); });
}

QString tableText(const QAbstractItemModel& model, const QList<int>& rows, TableFormat format) {
  const bool csv = format == TableFormat::kCsv;
  const auto cell = [csv](QString text) {
    if (!csv) return text.replace('|', "\\|").replace('\n', ' ');
    const bool quoted = text.contains(',') || text.contains('"') || text.contains('\n');
    return quoted ? '"' + text.replace('"', "\"\"") + '"' : text;
  };
  const auto line = [&](const auto& textAt) {
    QStringList cells;
    for (int column = 0; column < model.columnCount(); ++column) cells.append(cell(textAt(column)));
    return (csv ? cells.join(',') : "| " + cells.join(" | ") + " |") + '\n';
  };
  QString text = line([&](int c) { return model.headerData(c, Qt::Horizontal).toString(); });
  if (!csv) text += line([](int) { return QString("---"); });
  for (const int row : rows)
    text += line([&](int c) { return model.index(row, c).data().toString(); });
  return text;
}

}  // namespace meshplan::gui

// SPDX-License-Identifier: GPL-3.0-or-later
#include "gui/models/comparison_table.h"

#include <cmath>
#include <limits>

#include "gui/models/quantities.h"

namespace meshplan::gui {
namespace {

constexpr double kNoNumber = std::numeric_limits<double>::quiet_NaN();

Fact fact(const QString& name, common::Seconds time) { return {name, textOf(time), time.value}; }
Fact fact(const QString& name, common::Bytes size) {
  return {name, textOf(size), static_cast<double>(size.value)};
}

QString differenceOf(const Fact& fact, const Fact& other) {
  if (!std::isfinite(fact.number) || !std::isfinite(other.number))
    return fact.text == other.text ? "" : QObject::tr("differs");
  if (fact.number == other.number) return "";
  if (other.number == 0) return QObject::tr("only here");
  const double ratio = fact.number / other.number - 1;
  return (ratio > 0 ? "+" : "−") + percentText(std::abs(ratio));
}

}  // namespace

std::vector<Fact> factsOf(const planner::Candidate& candidate) {
  const auto& [layout, estimate] = candidate;
  const auto tr = [](const char* text) { return QObject::tr(text); };
  std::vector<Fact> facts = {
      {tr("Mesh"), titleOf(layout), kNoNumber},
      {tr("Choices"), choicesOf(layout), kNoNumber},
      fact(tr("Step time"), estimate.step_time),
      {tr("Tokens/s/GPU"), textOf(Quantity::kTokensPerSecond, estimate.tokens_per_second_per_gpu),
       estimate.tokens_per_second_per_gpu},
      {tr("MFU"), percentText(estimate.mfu), estimate.mfu},
      fact(tr("Compute"), estimate.compute_time)};
  for (const planner::Axis axis : planner::kShownAxes) {
    const planner::AxisTraffic& traffic = estimate.traffic[static_cast<std::size_t>(axis)];
    if (traffic.operations == 0) continue;
    facts.push_back(fact(tr("%1: exposed").arg(to_string(axis)), traffic.exposed));
    facts.push_back(fact(tr("%1: wire bytes").arg(to_string(axis)), traffic.wire_bytes));
  }
  facts.push_back(fact(tr("Memory of the device"), estimate.memory.peak_device));
  facts.push_back(fact(tr("Memory limit"), estimate.memory.capacity));
  for (std::size_t c = 0; c < planner::kMemoryClasses; ++c) {
    const QString name = to_string(static_cast<planner::MemoryClass>(c));
    facts.push_back(
        fact(tr("Peak: %1").arg(QString(name).replace('_', ' ')), estimate.memory.breakdown[c]));
  }
  facts.push_back(
      {tr("Peak is in"), QString::fromStdString(estimate.memory.peak_instruction), kNoNumber});
  return facts;
}

ComparisonTable::ComparisonTable(Detailing& detailing, QObject* parent)
    : QAbstractTableModel(parent), m_detailing(detailing) {
  connect(&detailing, &Detailing::detailChanged, this, &ComparisonTable::rebuild);
}

void ComparisonTable::rebuild() {
  beginResetModel();
  m_rows.clear();
  m_compares = false;
  if (const auto& detail = m_detailing.detail()) {
    const std::vector<Fact> facts = factsOf(detail->candidate);
    std::vector<Fact> others;
    m_compares = detail->compared.has_value();
    if (m_compares) others = factsOf(*detail->compared);
    for (const Fact& own : facts) {
      const auto other = std::find_if(others.begin(), others.end(),
                                      [&](const Fact& fact) { return fact.name == own.name; });
      Row row = {own.name, own.text, "", ""};
      if (other != others.end()) {
        row[2] = other->text;
        row[3] = differenceOf(own, *other);
      } else if (m_compares) {
        row[2] = "-";
      }
      m_rows.push_back(std::move(row));
    }
  }
  endResetModel();
}

int ComparisonTable::rowCount(const QModelIndex& parent) const {
  return parent.isValid() ? 0 : static_cast<int>(m_rows.size());
}

int ComparisonTable::columnCount(const QModelIndex& parent) const {
  if (parent.isValid()) return 0;
  return m_compares ? 4 : 2;
}

QVariant ComparisonTable::data(const QModelIndex& index, int role) const {
  if (!checkIndex(index, CheckIndexOption::IndexIsValid)) return {};
  if (role != Qt::DisplayRole && role != Qt::ToolTipRole) return {};
  return m_rows[static_cast<std::size_t>(index.row())][static_cast<std::size_t>(index.column())];
}

QVariant ComparisonTable::headerData(int section, Qt::Orientation orientation, int role) const {
  if (orientation != Qt::Horizontal || role != Qt::DisplayRole) return {};
  return QStringList{tr("Figure"), tr("This layout"), tr("Compared with"), tr("This against that")}
      .value(section);
}

}  // namespace meshplan::gui

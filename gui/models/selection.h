// SPDX-License-Identifier: GPL-3.0-or-later
#pragma once

#include <QObject>
#include <optional>

#include "gui/models/pricing.h"

namespace meshplan::gui {

/// What all views show: a layout, another that it is compared with, and a rank of it. Follows a
/// layout by what it is through changes of the inputs, and is the best one where it is gone.
class Selection : public QObject {
  Q_OBJECT

 public:
  explicit Selection(Pricing& pricing, QObject* parent = nullptr);

  const LayoutSet& set() const { return *m_set; }
  const std::shared_ptr<const LayoutSet>& shared() const { return m_set; }
  /// kNone where there is no layout, or none to compare with.
  std::size_t layout() const { return m_layout; }
  std::size_t compared() const { return m_compared; }
  /// The chosen layout itself, unless it is the best one anyway.
  const std::optional<planner::Layout>& chosen() const { return m_chosen; }
  /// What tables are narrowed to; nothing: all.
  const std::optional<Area>& area() const { return m_area; }
  std::int64_t rank() const { return m_rank; }

  void select(std::size_t layout);
  /// The same layout again stops comparing.
  void compareWith(std::size_t layout);
  void narrowTo(const std::optional<Area>& area);
  void selectRank(std::int64_t rank);
  /// Selects the layout as soon as it is priced.
  void choose(const planner::Layout& layout);

 Q_SIGNALS:
  void setChanged();
  void layoutChanged();
  void comparedChanged();
  void areaChanged();
  void rankChanged();

 private:
  void follow();

  Pricing& m_pricing;
  std::shared_ptr<const LayoutSet> m_set;
  std::size_t m_layout = kNone;
  std::size_t m_compared = kNone;
  /// What the user chose; nothing: the best, whatever that is.
  std::optional<planner::Layout> m_chosen;
  std::optional<Area> m_area;
  std::int64_t m_rank = 0;
};

}  // namespace meshplan::gui

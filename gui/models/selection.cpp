// SPDX-License-Identifier: GPL-3.0-or-later
#include "gui/models/selection.h"

namespace meshplan::gui {

Selection::Selection(Pricing& pricing, QObject* parent)
    : QObject(parent), m_pricing(pricing), m_set(pricing.set()) {
  connect(&pricing, &Pricing::priced, this, &Selection::follow);
}

void Selection::follow() {
  if (m_set == m_pricing.set()) return;
  const std::optional<planner::Layout> compared =
      m_compared == kNone ? std::nullopt : std::optional(m_set->layouts[m_compared]);
  const bool compares = m_compared != kNone;
  m_set = m_pricing.set();
  m_compared = compared ? m_set->indexOf(*compared) : kNone;
  m_layout = m_chosen ? m_set->indexOf(*m_chosen) : kNone;
  if (m_layout == kNone) m_layout = m_set->best;
  const bool rankExists =
      m_layout != kNone && m_rank < planner::world_size(m_set->layouts[m_layout].mesh);
  if (!rankExists) m_rank = 0;
  Q_EMIT setChanged();
  Q_EMIT layoutChanged();
  // Who follows both works twice for nothing.
  if (compares) Q_EMIT comparedChanged();
  Q_EMIT rankChanged();
}

void Selection::select(std::size_t layout) {
  if (layout >= m_set->size() || layout == m_layout) return;
  m_layout = layout;
  m_chosen = m_set->layouts[layout];
  Q_EMIT layoutChanged();
}

void Selection::compareWith(std::size_t layout) {
  const std::size_t next = layout >= m_set->size() || layout == m_compared ? kNone : layout;
  if (next == m_compared) return;
  m_compared = next;
  Q_EMIT comparedChanged();
}

void Selection::narrowTo(const std::optional<Area>& area) {
  m_area = area;
  Q_EMIT areaChanged();
}

void Selection::selectRank(std::int64_t rank) {
  if (m_layout == kNone || rank == m_rank || rank < 0) return;
  if (rank >= planner::world_size(m_set->layouts[m_layout].mesh)) return;
  m_rank = rank;
  Q_EMIT rankChanged();
}

void Selection::choose(const planner::Layout& layout) {
  m_chosen = layout;
  m_pricing.want(layout);
}

}  // namespace meshplan::gui

// SPDX-License-Identifier: GPL-3.0-or-later
#include "gui/models/detailing.h"

namespace meshplan::gui {

Detailing::Detailing(Selection& selection, QObject* parent)
    : QObject(parent), m_selection(selection) {
  connect(&selection, &Selection::layoutChanged, this, &Detailing::restart);
  connect(&selection, &Selection::comparedChanged, this, &Detailing::restart);
  connect(&m_work, &NewestWork::failed, this, [this](const QString& why) {
    m_detail = nullptr;
    m_failure = why;
    Q_EMIT detailChanged();
  });
}

void Detailing::restart() {
  if (m_selection.layout() == kNone) {
    m_work.cancel();
    m_detail = nullptr;
    Q_EMIT detailChanged();
    return;
  }
  m_work.start([this, set = m_selection.shared(), layout = m_selection.layout(),
                compared = m_selection.compared()](const Stop& stop) {
    auto detail = std::make_shared<const LayoutDetail>(detailOf(*set, layout, compared, stop));
    return [this, detail] {
      m_detail = detail;
      m_failure.clear();
      Q_EMIT detailChanged();
    };
  });
}

}  // namespace meshplan::gui

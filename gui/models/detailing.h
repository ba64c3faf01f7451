// SPDX-License-Identifier: GPL-3.0-or-later
#pragma once

#include <QObject>
#include <memory>

#include "gui/models/layout_detail.h"
#include "gui/models/newest_work.h"
#include "gui/models/selection.h"

namespace meshplan::gui {

/// Keeps the detail of the selection's layout.
class Detailing : public QObject {
  Q_OBJECT

 public:
  explicit Detailing(Selection& selection, QObject* parent = nullptr);

  /// Null where there is no layout, and while the first is worked out.
  const std::shared_ptr<const LayoutDetail>& detail() const { return m_detail; }
  /// Why there is none.
  const QString& failure() const { return m_failure; }
  bool isBusy() const { return m_work.isBusy(); }

 Q_SIGNALS:
  void detailChanged();

 private:
  void restart();

  Selection& m_selection;
  std::shared_ptr<const LayoutDetail> m_detail;
  QString m_failure;
  NewestWork m_work;
};

}  // namespace meshplan::gui

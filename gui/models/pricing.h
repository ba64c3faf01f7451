// SPDX-License-Identifier: GPL-3.0-or-later
#pragma once

#include <QObject>
#include <memory>

#include "gui/models/document.h"
#include "gui/models/layout_set.h"
#include "gui/models/newest_work.h"

namespace meshplan::gui {

/// Keeps the layouts of a document's inputs priced.
class Pricing : public QObject {
  Q_OBJECT

 public:
  explicit Pricing(Document& document, QObject* parent = nullptr);

  /// The newest layouts; of earlier inputs while those of the newest are priced or are wrong. Never
  /// null.
  const std::shared_ptr<const LayoutSet>& set() const { return m_set; }
  /// What is wrong with the inputs, by field; empty while they are looked at.
  const std::vector<FieldError>& errors() const { return m_errors; }
  /// What is wrong with no field alone.
  const QString& failure() const { return m_failure; }
  bool isBusy() const { return m_work.isBusy(); }

  /// A layout that the set has to have, whatever the search would try.
  void want(const std::optional<planner::Layout>& layout);
  void restart();

 Q_SIGNALS:
  /// Also after a failure, with the earlier set.
  void priced();
  void busyChanged(bool busy);

 private:
  void publish(std::shared_ptr<const LayoutSet> set, std::vector<FieldError> errors,
               const QString& failure);

  Document& m_document;
  std::optional<planner::Layout> m_wanted;
  std::shared_ptr<const LayoutSet> m_set;
  std::vector<FieldError> m_errors;
  QString m_failure;
  NewestWork m_work;
};

}  // namespace meshplan::gui

// SPDX-License-Identifier: GPL-3.0-or-later
#pragma once

#include <QComboBox>
#include <QFormLayout>
#include <QLabel>
#include <QScrollArea>
#include <array>

#include "gui/models/workspace.h"

namespace meshplan::gui {

/// All inputs, one editor a field, made from the table of fields. What is wrong with a field stands
/// under it.
class InputsPanel : public QScrollArea {
  Q_OBJECT

 public:
  explicit InputsPanel(Workspace& workspace, QWidget* parent = nullptr);

  QComboBox& editor(Field field) { return *m_rows[static_cast<std::size_t>(field)].editor; }
  /// "" where the field is right.
  QString complaint(Field field) const {
    return m_rows[static_cast<std::size_t>(field)].complaint->text();
  }

 private:
  struct Row {
    QComboBox* editor = nullptr;
    QLabel* complaint = nullptr;
  };

  void addField(QFormLayout& form, const FieldInfo& info);
  QWidget* withOpenButton(QComboBox* editor, Field field);
  void followDocument();
  void showComplaints();
  void showModel();

  Workspace& m_workspace;
  std::array<Row, kFields> m_rows;
  QLabel* m_model;
};

}  // namespace meshplan::gui

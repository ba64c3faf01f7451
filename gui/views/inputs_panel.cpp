// SPDX-License-Identifier: GPL-3.0-or-later
#include "gui/views/inputs_panel.h"

#include <QCompleter>
#include <QFileDialog>
#include <QGroupBox>
#include <QLineEdit>
#include <QScrollBar>
#include <QToolButton>
#include <QVBoxLayout>

#include "common/text.h"
#include "gui/models/colors.h"
#include "gui/models/quantities.h"
#include "planner/model/parameter_table.h"

namespace meshplan::gui {
namespace {

/// The text that the box stands for: its first entry, where nothing may be chosen, stands for "".
QString textOf(const QComboBox& box) {
  return box.isEditable() ? box.currentText() : box.currentData().toString();
}

void setText(QComboBox& box, const QString& text) {
  const QSignalBlocker blocker(box);
  if (box.isEditable()) {
    box.setEditText(text);
    return;
  }
  int index = box.findData(text);
  if (index < 0) {
    box.addItem(text, text);
    index = box.count() - 1;
  }
  box.setCurrentIndex(index);
}

QString modelText(const Problem& problem) {
  const planner::ModelSpec& model = problem.model;
  const planner::ClusterSpec& cluster = problem.cluster;
  const double parameters = static_cast<double>(planner::parameter_count(model));
  return QObject::tr(
             "%1 parameters in %2 blocks; hidden %3, %4 heads (%5 for keys), vocabulary %6\n"
             "%7 × %8 %9, %10 each")
      .arg(QString::fromStdString(common::human_count(parameters)))
      .arg(model.num_hidden_layers)
      .arg(model.hidden_size)
      .arg(model.num_attention_heads)
      .arg(model.num_key_value_heads)
      .arg(countText(model.vocab_size))
      .arg(cluster.nodes)
      .arg(cluster.devices_per_node)
      .arg(QString::fromStdString(cluster.device.name), gui::textOf(cluster.device.memory));
}

}  // namespace

InputsPanel::InputsPanel(Workspace& workspace, QWidget* parent)
    : QScrollArea(parent), m_workspace(workspace), m_model(new QLabel(this)) {
  setAccessibleName(tr("Inputs"));
  setWidgetResizable(true);
  setHorizontalScrollBarPolicy(Qt::ScrollBarAlwaysOff);
  setFrameShape(QFrame::NoFrame);
  auto* content = new QWidget;
  auto* column = new QVBoxLayout(content);
  QFormLayout* form = nullptr;
  QString group;
  for (const FieldInfo& info : allFields()) {
    if (group != info.group) {
      group = info.group;
      auto* box = new QGroupBox(tr(info.group), content);
      form = new QFormLayout(box);
      form->setFieldGrowthPolicy(QFormLayout::AllNonFixedFieldsGrow);
      column->addWidget(box);
    }
    addField(*form, info);
    if (info.field == Field::kModel) form->addRow(m_model);
  }
  column->addStretch();
  m_model->setWordWrap(true);
  setWidget(content);
  setMinimumWidth(content->sizeHint().width() + verticalScrollBar()->sizeHint().width());
  connect(&workspace.document, &Document::inputsChanged, this, &InputsPanel::followDocument);
  connect(&workspace.pricing, &Pricing::priced, this, &InputsPanel::showComplaints);
  followDocument();
  showComplaints();
}

void InputsPanel::addField(QFormLayout& form, const FieldInfo& info) {
  auto* editor = new QComboBox;
  editor->setEditable(info.free_text);
  editor->setSizeAdjustPolicy(QComboBox::AdjustToMinimumContentsLengthWithIcon);
  editor->setMinimumContentsLength(14);
  editor->setAccessibleName(tr(info.label));
  editor->setToolTip(tr(info.help));
  editor->setFocusPolicy(Qt::StrongFocus);
  if (info.free_text) {
    editor->setInsertPolicy(QComboBox::NoInsert);
    editor->lineEdit()->setPlaceholderText(tr(info.when_empty));
    editor->completer()->setCompletionMode(QCompleter::PopupCompletion);
  } else if (info.when_empty != nullptr) {
    editor->addItem(tr(info.when_empty), "");
  }
  for (const QString& text : suggestionsFor(info.field)) editor->addItem(text, text);
  auto* complaint = new QLabel;
  complaint->setWordWrap(true);
  complaint->hide();
  m_rows[static_cast<std::size_t>(info.field)] = {editor, complaint};
  const bool opens = info.field == Field::kModel || info.field == Field::kCluster;
  auto* label = new QLabel(tr(info.label));
  label->setToolTip(tr(info.help));
  label->setBuddy(editor);
  form.addRow(label, opens ? withOpenButton(editor, info.field) : editor);
  form.addRow(complaint);
  const Field field = info.field;
  connect(editor, &QComboBox::currentTextChanged, this,
          [this, editor, field] { m_workspace.document.set(field, textOf(*editor)); });
}

QWidget* InputsPanel::withOpenButton(QComboBox* editor, Field field) {
  auto* both = new QWidget;
  auto* row = new QHBoxLayout(both);
  row->setContentsMargins(0, 0, 0, 0);
  auto* open = new QToolButton;
  open->setText(tr("..."));
  open->setAccessibleName(tr("Open a file"));
  open->setToolTip(tr("Open a file"));
  row->addWidget(editor, 1);
  row->addWidget(open);
  connect(open, &QToolButton::clicked, this, [this, field] {
    const QString path =
        QFileDialog::getOpenFileName(this, tr("Open"), {}, tr("JSON (*.json);;All files (*)"));
    if (!path.isEmpty()) m_workspace.document.set(field, path);
  });
  return both;
}

void InputsPanel::followDocument() {
  const Inputs& inputs = m_workspace.document.inputs();
  for (const FieldInfo& info : allFields()) {
    QComboBox& box = editor(info.field);
    if (textOf(box) != inputs[info.field]) setText(box, inputs[info.field]);
  }
}

void InputsPanel::showComplaints() {
  for (Row& row : m_rows) {
    // A style sheet is slow to set, even to what it is.
    if (row.complaint->text().isEmpty()) continue;
    row.complaint->hide();
    row.complaint->clear();
    row.editor->setStyleSheet("");
  }
  const QString alarm = ink().alarm.name();
  for (const FieldError& error : m_workspace.pricing.errors()) {
    Row& row = m_rows[static_cast<std::size_t>(error.field)];
    row.complaint->setText(error.message);
    row.complaint->setStyleSheet(QString("color: %1").arg(alarm));
    row.complaint->show();
    row.editor->setStyleSheet(QString("QComboBox { border: 2px solid %1 }").arg(alarm));
  }
  showModel();
}

void InputsPanel::showModel() {
  const auto& set = m_workspace.pricing.set();
  m_model->setText(set->problem ? modelText(*set->problem) : QString());
}

}  // namespace meshplan::gui

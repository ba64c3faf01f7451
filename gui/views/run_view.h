// SPDX-License-Identifier: GPL-3.0-or-later
#pragma once

#include <QCheckBox>
#include <QLabel>
#include <QLineEdit>
#include <QPlainTextEdit>
#include <QPushButton>
#include <QSpinBox>

#include "gui/models/training_run.h"
#include "gui/models/workspace.h"
#include "gui/views/plot.h"

namespace meshplan::gui {

/// Trains the selected layout on this machine, or shows another run: measurements as they come,
/// beside what was predicted.
class RunView : public QWidget {
  Q_OBJECT

 public:
  explicit RunView(Workspace& workspace, QWidget* parent = nullptr);

  /// What the controls ask for.
  TrainingSettings settings() const;
  void setStorage(const QString& folder) { m_storage->setText(folder); }
  void setSteps(int steps) { m_steps->setValue(steps); }
  void start();

 private:
  QLayout* makeSettings();
  QLayout* makeButtons();
  void openRun();
  void copyCommand();
  void showState();
  void showSteps();
  void draw(Plot& plot, const QString& label,
            const std::function<double(const formats::StepMetrics&)>& value,
            std::optional<double> predicted);

  Workspace& m_workspace;
  TrainingRun& m_run;
  QLineEdit* m_data;
  QLineEdit* m_storage;
  QLineEdit* m_experiment;
  QSpinBox* m_steps;
  QLineEdit* m_learningRate;
  QCheckBox* m_randomWeights;
  QPushButton* m_start;
  QPushButton* m_stop;
  QLabel* m_state;
  Plot* m_loss;
  Plot* m_speed;
  Plot* m_memory;
  QPlainTextEdit* m_log;
};

}  // namespace meshplan::gui

// SPDX-License-Identifier: GPL-3.0-or-later
#pragma once

#include <QFileInfo>
#include <QObject>
#include <QProcess>
#include <QTimer>
#include <memory>
#include <optional>
#include <vector>

#include "formats/chrome_trace.h"
#include "formats/metrics.h"
#include "gui/models/newest_work.h"
#include "planner/plan/plan.h"

namespace meshplan::gui {

/// What a training run is started with.
struct TrainingSettings {
  /// --data: the prefix of an indexed dataset, or "synthetic".
  QString data = "synthetic";
  QString storage;
  QString experiment = "first";
  int steps = 100;
  QString learningRate = "1e-3";
  /// Weights from the seed; else from the model's folder.
  bool randomWeights = true;
};

/// The arguments of `meshplan` for the plan in this file.
QStringList trainArguments(const QString& planFile, const TrainingSettings& settings);
/// The same as a line for a shell.
QString trainCommand(const QString& planFile, const TrainingSettings& settings);

/// The measurements of a run's folder: of a run that was started here, or of any other.
class TrainingRun : public QObject {
  Q_OBJECT

 public:
  explicit TrainingRun(QObject* parent = nullptr);
  /// Stops what it started, as a checkpoint would be asked for.
  ~TrainingRun() override;

  /// Writes the plan beside the run's folder and trains it on this machine, going on from its
  /// newest checkpoint. Throws common::Error where the plan cannot be written. Requires that
  /// nothing runs.
  void start(const planner::Plan& plan, const TrainingSettings& settings);
  /// Asks for a checkpoint and the end.
  void stop();
  bool isReading() const { return m_reading.isBusy(); }
  bool isRunning() const { return m_process.state() != QProcess::NotRunning; }

  /// Shows the run in this folder, and goes on as its metrics grow.
  void follow(const QString& folder);
  const QString& folder() const { return m_folder; }
  const std::vector<formats::StepMetrics>& steps() const { return m_steps; }
  /// What was predicted of the run; nothing where its folder has no plan.
  const std::optional<planner::Plan>& plan() const { return m_plan; }
  /// What rank 0 did in a step, where the run traced one.
  const std::shared_ptr<const formats::Trace>& trace() const { return m_trace; }
  /// Why the folder cannot be read; "" where it can.
  const QString& failure() const { return m_failure; }

 Q_SIGNALS:
  void stepsChanged();
  void traceChanged();
  void logged(const QString& text);
  void runningChanged();

 private:
  void look();

  QProcess m_process;
  QTimer m_timer;
  QString m_folder;
  /// Of the metrics file, when it was read last.
  qint64 m_seenSize = -1;
  QDateTime m_seenTime;
  std::vector<formats::StepMetrics> m_steps;
  std::optional<planner::Plan> m_plan;
  std::shared_ptr<const formats::Trace> m_trace;
  QString m_failure;
  NewestWork m_reading;
};

}  // namespace meshplan::gui

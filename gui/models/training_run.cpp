// SPDX-License-Identifier: GPL-3.0-or-later
#include "gui/models/training_run.h"

#include <QCoreApplication>
#include <QDateTime>
#include <QDir>
#include <QRegularExpression>
#include <filesystem>

#include "formats/run_folder.h"

namespace meshplan::gui {
namespace {

constexpr int kLookMilliseconds = 500;
constexpr int kStopMilliseconds = 30'000;

/// `meshplan` lies beside this program, or is in the path.
QString programPath() {
  const QString beside = QCoreApplication::applicationDirPath() + "/meshplan";
  return QFileInfo::exists(beside) ? beside : QString("meshplan");
}

QString quoted(const QString& word) {
  static const QRegularExpression plain("^[A-Za-z0-9_./=:,+-]+$");
  return plain.match(word).hasMatch() ? word : "'" + QString(word).replace("'", "'\\''") + "'";
}

struct Read {
  std::vector<formats::StepMetrics> steps;
  std::optional<planner::Plan> plan;
  std::shared_ptr<const formats::Trace> trace;
};

Read readFolder(const std::filesystem::path& folder) {
  Read read;
  const std::filesystem::path metrics = formats::metrics_path(folder);
  if (std::filesystem::exists(metrics)) read.steps = formats::read_metrics(metrics);
  const std::filesystem::path plan = formats::plan_path(folder);
  if (std::filesystem::exists(plan)) read.plan = planner::load_plan(plan);
  const std::filesystem::path trace = formats::trace_path(folder, 0);
  if (std::filesystem::exists(trace))
    read.trace = std::make_shared<formats::Trace>(formats::read_chrome_trace(trace));
  return read;
}

}  // namespace

QStringList trainArguments(const QString& planFile, const TrainingSettings& settings) {
  QStringList arguments = {"train",
                           planFile,
                           "--data",
                           settings.data,
                           "--steps",
                           QString::number(settings.steps),
                           "--learning-rate",
                           settings.learningRate,
                           "--storage-path",
                           settings.storage,
                           "--experiment-name",
                           settings.experiment};
  if (settings.randomWeights)
    arguments << "--init"
              << "random";
  return arguments;
}

QString trainCommand(const QString& planFile, const TrainingSettings& settings) {
  QStringList words = {"meshplan"};
  for (const QString& word : trainArguments(planFile, settings)) words.append(quoted(word));
  return words.join(' ');
}

TrainingRun::TrainingRun(QObject* parent) : QObject(parent) {
  m_process.setProcessChannelMode(QProcess::MergedChannels);
  m_timer.setInterval(kLookMilliseconds);
  connect(&m_timer, &QTimer::timeout, this, &TrainingRun::look);
  connect(&m_process, &QProcess::readyRead, this,
          [this] { Q_EMIT logged(QString::fromUtf8(m_process.readAll())); });
  connect(&m_process, &QProcess::stateChanged, this, &TrainingRun::runningChanged);
  connect(&m_process, &QProcess::errorOccurred, this, [this] {
    if (m_process.error() == QProcess::FailedToStart)
      Q_EMIT logged(tr("%1 cannot be started: %2\n").arg(programPath(), m_process.errorString()));
  });
  connect(&m_process, &QProcess::finished, this, [this](int code, QProcess::ExitStatus status) {
    Q_EMIT logged(status == QProcess::NormalExit ? tr("ended with exit code %1\n").arg(code)
                                                 : tr("was killed\n"));
    look();
  });
  connect(&m_reading, &NewestWork::failed, this, [this](const QString& why) {
    m_failure = why;
    Q_EMIT stepsChanged();
  });
}

TrainingRun::~TrainingRun() {
  m_process.disconnect(this);
  if (!isRunning()) return;
  m_process.terminate();
  if (!m_process.waitForFinished(kStopMilliseconds)) m_process.kill();
}

void TrainingRun::start(const planner::Plan& plan, const TrainingSettings& settings) {
  const QDir storage(settings.storage);
  const QString planFile = storage.absoluteFilePath(settings.experiment + "-plan.json");
  planner::save_plan(plan, planFile.toStdString());
  const QStringList arguments = trainArguments(planFile, settings);
  Q_EMIT logged(trainCommand(planFile, settings) + "\n");
  m_process.start(programPath(), arguments);
  follow(storage.absoluteFilePath(settings.experiment));
}

void TrainingRun::stop() {
  if (isRunning()) m_process.terminate();
}

void TrainingRun::follow(const QString& folder) {
  m_folder = folder;
  m_seenSize = -1;
  m_steps.clear();
  m_plan.reset();
  m_trace.reset();
  m_failure.clear();
  m_timer.start();
  Q_EMIT stepsChanged();
  Q_EMIT traceChanged();
  look();
}

void TrainingRun::look() {
  const std::filesystem::path folder = m_folder.toStdString();
  const QFileInfo file(QString::fromStdString(formats::metrics_path(folder).string()));
  const bool same = file.size() == m_seenSize && file.lastModified() == m_seenTime;
  if (same || m_reading.isBusy()) return;
  m_seenSize = file.size();
  m_seenTime = file.lastModified();
  m_reading.start([this, folder](const Stop&) {
    return [this, read = readFolder(folder)] {
      m_steps = read.steps;
      m_plan = read.plan;
      m_failure.clear();
      const bool other = m_trace != read.trace;
      m_trace = read.trace;
      Q_EMIT stepsChanged();
      if (other) Q_EMIT traceChanged();
    };
  });
}

}  // namespace meshplan::gui

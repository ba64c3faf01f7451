// SPDX-License-Identifier: GPL-3.0-or-later
#include "gui/views/run_view.h"

#include <QClipboard>
#include <QFileDialog>
#include <QFormLayout>
#include <QGuiApplication>
#include <QMessageBox>
#include <QVBoxLayout>
#include <cmath>

#include "gui/models/colors.h"
#include "gui/models/quantities.h"

namespace meshplan::gui {
namespace {

constexpr double kMiB = 1024.0 * 1024;
constexpr int kMostLogLines = 2000;

}  // namespace

RunView::RunView(Workspace& workspace, QWidget* parent)
    : QWidget(parent),
      m_workspace(workspace),
      m_run(workspace.run),
      m_state(new QLabel(this)),
      m_loss(new Plot(tr("Loss"), this)),
      m_speed(new Plot(tr("Tokens per second"), this)),
      m_memory(new Plot(tr("Memory"), this)),
      m_log(new QPlainTextEdit(this)) {
  m_log->setReadOnly(true);
  m_log->setMaximumBlockCount(kMostLogLines);
  m_log->setAccessibleName(tr("Log of the run"));
  m_state->setWordWrap(true);
  auto* left = new QVBoxLayout;
  left->addLayout(makeSettings());
  left->addLayout(makeButtons());
  left->addWidget(m_state);
  left->addWidget(m_log, 1);
  auto* all = new QHBoxLayout(this);
  all->setContentsMargins(4, 4, 4, 4);
  all->addLayout(left, 2);
  for (Plot* plot : {m_loss, m_speed, m_memory}) {
    plot->xAxis->setLabel(tr("Step"));
    all->addWidget(plot, 2);
    connect(plot, &Plot::inkChanged, this, &RunView::showSteps);
  }
  connect(&m_run, &TrainingRun::logged, this,
          [this](const QString& text) { m_log->appendPlainText(text.trimmed()); });
  connect(&m_run, &TrainingRun::stepsChanged, this, &RunView::showSteps);
  connect(&m_run, &TrainingRun::runningChanged, this, &RunView::showState);
  connect(&workspace.detailing, &Detailing::detailChanged, this, &RunView::showState);
  showState();
  showSteps();
}

QLayout* RunView::makeSettings() {
  const TrainingSettings initial;
  auto* form = new QFormLayout;
  const auto add = [&](const QString& label, const QString& text, const QString& help) {
    auto* editor = new QLineEdit(text);
    editor->setAccessibleName(label);
    editor->setToolTip(help);
    form->addRow(label, editor);
    return editor;
  };
  m_data = add(tr("Data"), initial.data,
               tr("The prefix of an indexed dataset, as scripts/prepare_data makes it; or "
                  "synthetic: made-up samples"));
  m_storage = add(tr("Folder"), QDir::current().absoluteFilePath("runs"),
                  tr("Where the run's folder is made"));
  m_experiment = add(tr("Name"), initial.experiment,
                     tr("Of the run; the same name goes on from its newest checkpoint"));
  m_learningRate = add(tr("Learning rate"), initial.learningRate, tr("AdamW's, at its peak"));
  m_steps = new QSpinBox;
  m_steps->setRange(1, 100'000'000);
  m_steps->setValue(initial.steps);
  m_steps->setAccessibleName(tr("Steps"));
  m_randomWeights = new QCheckBox(tr("Random weights"));
  m_randomWeights->setChecked(initial.randomWeights);
  m_randomWeights->setToolTip(tr("Weights from the seed; else from the model's folder"));
  form->addRow(tr("Steps"), m_steps);
  form->addRow(m_randomWeights);
  return form;
}

QLayout* RunView::makeButtons() {
  auto* row = new QHBoxLayout;
  const auto add = [&](const QString& text, const QString& help, auto&& slot) {
    auto* button = new QPushButton(text);
    button->setToolTip(help);
    row->addWidget(button);
    connect(button, &QPushButton::clicked, this, slot);
    return button;
  };
  m_start =
      add(tr("Start or resume"), tr("Trains the selected layout on this machine"), &RunView::start);
  m_stop = add(tr("Stop"), tr("Writes a checkpoint and ends"), [this] { m_run.stop(); });
  add(tr("Copy command"), tr("For a terminal, or a cluster's launcher"), &RunView::copyCommand);
  add(tr("Open run ..."), tr("Shows the folder of a past or remote run"), &RunView::openRun);
  return row;
}

TrainingSettings RunView::settings() const {
  return {.data = m_data->text(),
          .storage = m_storage->text(),
          .experiment = m_experiment->text(),
          .steps = m_steps->value(),
          .learningRate = m_learningRate->text(),
          .randomWeights = m_randomWeights->isChecked()};
}

void RunView::start() {
  const auto& detail = m_workspace.detailing.detail();
  if (!detail || m_run.isRunning()) return;
  try {
    m_run.start(detail->plan(), settings());
  } catch (const std::exception& error) {
    QMessageBox::warning(this, tr("Cannot start"), QString::fromUtf8(error.what()));
  }
}

void RunView::openRun() {
  const QString folder = QFileDialog::getExistingDirectory(this, tr("Open the folder of a run"));
  if (!folder.isEmpty()) m_run.follow(folder);
}

void RunView::copyCommand() {
  QGuiApplication::clipboard()->setText(trainCommand("plan.json", settings()));
}

void RunView::showState() {
  const auto& detail = m_workspace.detailing.detail();
  QString refused;
  if (detail) {
    const auto violations = planner::executor_violations(
        detail->problem->model, detail->problem->job, detail->candidate.layout);
    refused = QString::fromStdString(planner::to_string(violations));
  }
  const bool running = m_run.isRunning();
  m_start->setEnabled(detail && refused.isEmpty() && !running);
  m_stop->setEnabled(running);
  if (running) {
    m_state->setText(tr("Training in %1").arg(m_run.folder()));
  } else if (!detail) {
    m_state->setText(tr("No layout is selected"));
  } else if (!refused.isEmpty()) {
    m_state->setText(tr("This layout is planned and simulated, but not trained: %1").arg(refused));
  } else {
    m_state->setText(tr("Would train %1").arg(titleOf(detail->candidate.layout)));
  }
}

void RunView::draw(Plot& plot, const QString& label,
                   const std::function<double(const formats::StepMetrics&)>& value,
                   std::optional<double> predicted) {
  plot.clearGraphs();
  plot.yAxis->setLabel(label);
  const auto& steps = m_run.steps();
  QVector<double> xs;
  QVector<double> ys;
  for (const formats::StepMetrics& metrics : steps) {
    xs.append(static_cast<double>(metrics.step));
    ys.append(value(metrics));
  }
  QCPGraph* measured = plot.addGraph();
  measured->setPen(QPen(categoryColor(0), 2));
  measured->setData(xs, ys, true);
  measured->rescaleAxes();
  if (predicted && !xs.isEmpty()) {
    QCPGraph* line = plot.addGraph();
    line->setPen(QPen(ink().alarm, 2, Qt::DashLine));
    line->setData({xs.first(), xs.last()}, {*predicted, *predicted}, true);
    line->rescaleAxes(true);
  }
  plot.yAxis->scaleRange(1.15);
  plot.showMessage(steps.empty() ? tr("no steps yet") : QString());
  plot.replotWhenShown();
}

void RunView::showSteps() {
  std::optional<double> speed;
  std::optional<double> memory;
  if (const auto& plan = m_run.plan()) {
    speed = plan->estimate.tokens_per_second_per_gpu *
            static_cast<double>(planner::world_size(plan->layout.mesh));
    memory = static_cast<double>(plan->estimate.memory.peak_allocated.value) / kMiB;
  }
  draw(
      *m_loss, tr("Loss"), [](const auto& step) { return step.loss; }, std::nullopt);
  draw(
      *m_speed, tr("Tokens/s (dashed: predicted)"),
      [](const auto& step) { return step.tokens_per_second; }, speed);
  draw(
      *m_memory, tr("Peak memory, MiB (dashed: predicted)"),
      [](const auto& step) { return static_cast<double>(step.peak_memory.value) / kMiB; }, memory);
  if (!m_run.failure().isEmpty()) m_state->setText(m_run.failure());
}

}  // namespace meshplan::gui

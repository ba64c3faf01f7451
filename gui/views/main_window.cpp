// SPDX-License-Identifier: GPL-3.0-or-later
#include "gui/views/main_window.h"

#include <QApplication>
#include <QCloseEvent>
#include <QFile>
#include <QFileDialog>
#include <QFileInfo>
#include <QMenuBar>
#include <QMessageBox>
#include <QMimeData>
#include <QSettings>
#include <QSplitter>
#include <QStatusBar>

#include "common/file.h"
#include "gui/export/picture.h"
#include "gui/models/quantities.h"
#include "gui/views/help_text.h"
#include "gui/views/inputs_panel.h"
#include "gui/views/layouts_view.h"
#include "gui/views/memory_view.h"
#include "gui/views/mesh_view.h"
#include "gui/views/run_view.h"
#include "gui/views/timeline_view.h"
#include "gui/views/tradeoff_view.h"
#include "gui/views/traffic_view.h"
#include "gui/views/why_view.h"

namespace meshplan::gui {
namespace {

constexpr const char* kGeometry = "window_geometry";

}  // namespace

MainWindow::MainWindow(QWidget* parent) : QMainWindow(parent), m_state(new QLabel(this)) {
  setAcceptDrops(true);
  makeCentre();
  makeFileMenu();
  makeEditMenu();
  makeViewMenu();
  makeHelpMenu();
  statusBar()->addWidget(m_state, 1);
  resize(1440, 900);
  restoreGeometry(QSettings().value(kGeometry).toByteArray());
  connect(&m_workspace.pricing, &Pricing::busyChanged, this, &MainWindow::showState);
  connect(&m_workspace.selection, &Selection::setChanged, this, &MainWindow::showState);
  connect(&m_workspace.pricing, &Pricing::priced, this, &MainWindow::showState);
  connect(&m_workspace.document, &Document::pathChanged, this, &MainWindow::showTitle);
  connect(m_workspace.document.undoStack(), &QUndoStack::cleanChanged, this,
          &MainWindow::showTitle);
  connect(&m_autosave, &Autosave::failed, this, [this](const QString& why) {
    statusBar()->showMessage(tr("What is not saved cannot be kept: %1").arg(why), 10'000);
  });
  showTitle();
  showState();
}

MainWindow::~MainWindow() = default;

void MainWindow::makeCentre() {
  m_inputs = new InputsPanel(m_workspace);
  m_tradeoff = new TradeoffView(m_workspace);
  m_mesh = new MeshView(m_workspace);
  m_tabs = new QTabWidget;
  m_tabs->setAccessibleName(tr("Views"));
  m_tabs->setDocumentMode(true);
  m_tabs->addTab(new LayoutsView(m_workspace), tr("&Layouts"));
  m_tabs->addTab(new MemoryView(m_workspace), tr("&Memory"));
  m_tabs->addTab(new TrafficView(m_workspace), tr("&TP against FSDP"));
  m_tabs->addTab(new TimelineView(m_workspace), tr("T&imeline"));
  m_tabs->addTab(new WhyView(m_workspace), tr("&Why this layout"));
  m_tabs->addTab(new RunView(m_workspace), tr("&Run"));
  auto* upper = new QSplitter(Qt::Horizontal);
  upper->addWidget(m_tradeoff);
  upper->addWidget(m_mesh);
  upper->setSizes({500, 500});
  auto* right = new QSplitter(Qt::Vertical);
  right->addWidget(upper);
  right->addWidget(m_tabs);
  right->setSizes({460, 400});
  auto* whole = new QSplitter(Qt::Horizontal);
  whole->addWidget(m_inputs);
  whole->addWidget(right);
  whole->setStretchFactor(1, 1);
  for (QSplitter* splitter : {upper, right, whole}) splitter->setChildrenCollapsible(false);
  setCentralWidget(whole);
}

void MainWindow::makeFileMenu() {
  QMenu* menu = menuBar()->addMenu(tr("&File"));
  menu->addAction(tr("&New"), QKeySequence::New, this, [this] {
    if (mayDiscard()) m_workspace.document.reset();
  });
  menu->addAction(tr("&Open ..."), QKeySequence::Open, this, &MainWindow::askAndOpen);
  QMenu* recent = menu->addMenu(tr("Open &recent"));
  connect(recent, &QMenu::aboutToShow, this, [this, recent] { fillRecent(*recent); });
  menu->addSeparator();
  menu->addAction(tr("&Save session"), QKeySequence::Save, this, &MainWindow::save);
  menu->addAction(tr("Save session &as ..."), QKeySequence::SaveAs, this, &MainWindow::saveAs);
  menu->addSeparator();
  menu->addAction(tr("Export &plan ..."), QKeySequence(Qt::CTRL | Qt::Key_E), this,
                  &MainWindow::exportPlan);
  QMenu* trainers = menu->addMenu(tr("Export for another &trainer"));
  for (const planner::ExportTarget& target : planner::export_targets()) {
    trainers
        ->addAction(QString("%1 ...").arg(target.version), this,
                    [this, &target] { exportFor(target); })
        ->setObjectName(target.name);
  }
  menu->addAction(tr("Export p&icture or report ..."),
                  QKeySequence(Qt::CTRL | Qt::SHIFT | Qt::Key_E), this, &MainWindow::exportPicture);
  menu->addSeparator();
  menu->addAction(tr("&Quit"), QKeySequence::Quit, this, &QWidget::close);
}

void MainWindow::makeEditMenu() {
  QMenu* menu = menuBar()->addMenu(tr("&Edit"));
  QUndoStack* stack = m_workspace.document.undoStack();
  QAction* undo = stack->createUndoAction(this, tr("Undo"));
  QAction* redo = stack->createRedoAction(this, tr("Redo"));
  undo->setShortcut(QKeySequence::Undo);
  redo->setShortcut(QKeySequence::Redo);
  menu->addActions({undo, redo});
  menu->addSeparator();
  menu->addAction(tr("Select the &best layout"), QKeySequence(Qt::CTRL | Qt::Key_B), this,
                  [this] { m_workspace.selection.select(m_workspace.selection.set().best); });
}

void MainWindow::makeViewMenu() {
  QMenu* menu = menuBar()->addMenu(tr("&View"));
  for (int tab = 0; tab < m_tabs->count(); ++tab) {
    menu->addAction(QString(m_tabs->tabText(tab)).remove('&'),
                    QKeySequence(Qt::CTRL | static_cast<Qt::Key>(Qt::Key_1 + tab)), this,
                    [this, tab] { m_tabs->setCurrentIndex(tab); });
  }
}

void MainWindow::makeHelpMenu() {
  QMenu* menu = menuBar()->addMenu(tr("&Help"));
  menu->addAction(tr("&Help"), QKeySequence::HelpContents, this, [this] { showHelp(*this); });
  menu->addAction(tr("&About meshplan"), this, [this] {
    QMessageBox::about(this, tr("About meshplan"),
                       tr("meshplan %1: which device mesh should this training job run on?\n\n"
                          "This program is under the GPL, version 3 or later; the planner and "
                          "simulator under it are under Apache-2.0.")
                           .arg(QApplication::applicationVersion()));
  });
}

void MainWindow::fillRecent(QMenu& menu) {
  menu.clear();
  const QStringList paths = m_recent.paths();
  for (const QString& path : paths)
    menu.addAction(QFileInfo(path).fileName(), this, [this, path] { openFile(path); })
        ->setToolTip(path);
  if (paths.isEmpty()) menu.addAction(tr("none yet"))->setEnabled(false);
}

void MainWindow::complain(const QString& what, const std::exception& error) {
  QMessageBox::warning(this, what, QString::fromUtf8(error.what()));
}

void MainWindow::askAndOpen() {
  const QString path = QFileDialog::getOpenFileName(
      this, tr("Open a session, plan, model or cluster"), {}, tr("JSON (*.json);;All files (*)"));
  if (!path.isEmpty()) openFile(path);
}

bool MainWindow::openFile(const QString& path) {
  if (!mayDiscard()) return false;
  try {
    m_workspace.open(path);
  } catch (const std::exception& error) {
    complain(tr("Cannot open %1").arg(QFileInfo(path).fileName()), error);
    return false;
  }
  m_recent.add(path);
  return true;
}

void MainWindow::offerLeftSession() {
  const std::optional<LeftSession> left = findLeftSession(Autosave::usualFolder());
  if (!left) return;
  const auto answer = QMessageBox::question(
      this, tr("Go on where it broke off?"),
      tr("meshplan ended without closing its window, with inputs that were not saved. "
         "Shall they be restored?"));
  if (answer == QMessageBox::Yes) {
    m_workspace.document.setAll(left->session.inputs, tr("Restore"));
    if (left->session.layout) m_workspace.selection.choose(*left->session.layout);
    m_autosave.write();
  }
  QFile::remove(left->path);
}

bool MainWindow::save() {
  const QString& path = m_workspace.document.path();
  return path.isEmpty() ? saveAs() : saveTo(path);
}

bool MainWindow::saveAs() {
  QString path = QFileDialog::getSaveFileName(this, tr("Save session"), "session.meshplan.json",
                                              tr("Sessions (*.meshplan.json)"));
  if (path.isEmpty()) return false;
  if (!path.endsWith(".json")) path += ".meshplan.json";
  return saveTo(path);
}

bool MainWindow::saveTo(const QString& path) {
  try {
    m_workspace.document.save(path, m_workspace.selection.chosen());
  } catch (const std::exception& error) {
    complain(tr("Cannot save %1").arg(QFileInfo(path).fileName()), error);
    return false;
  }
  m_recent.add(path);
  return true;
}

bool MainWindow::mayDiscard() {
  const Document& document = m_workspace.document;
  // Inputs that were never a file are cheap to make again.
  if (m_workspace.document.undoStack()->isClean() || document.path().isEmpty()) return true;
  const auto answer = QMessageBox::question(
      this, tr("Save the session?"),
      tr("%1 has changed since it was saved.").arg(QFileInfo(document.path()).fileName()),
      QMessageBox::Save | QMessageBox::Discard | QMessageBox::Cancel);
  if (answer == QMessageBox::Save) return save();
  return answer == QMessageBox::Discard;
}

void MainWindow::exportPlan() {
  const auto& detail = m_workspace.detailing.detail();
  if (!detail) return;
  const QString path =
      QFileDialog::getSaveFileName(this, tr("Export plan"), "plan.json", tr("Plans (*.json)"));
  if (path.isEmpty()) return;
  try {
    planner::save_plan(detail->plan(), path.toStdString());
  } catch (const std::exception& error) {
    complain(tr("Cannot export the plan"), error);
  }
}

std::optional<planner::Plan> MainWindow::exportable(const planner::Plan& plan,
                                                    const planner::ExportTarget& target) {
  const std::vector<std::string> refused = planner::refusals(plan, target);
  if (refused.empty()) return plan;
  QStringList lines;
  for (const std::string& line : refused) lines.append(QString::fromStdString(line));
  const QString what = tr("%1 cannot express").arg(target.version);
  const auto near = planner::nearest_exportable(plan, target);
  if (!near) {
    QMessageBox::warning(this, what, lines.join('\n'));
    return std::nullopt;
  }
  const auto answer = QMessageBox::question(
      this, what,
      tr("%1\n\nOn the same mesh it can express a plan without these, which takes %2 a step "
         "instead of %3, and %4 of the device's %5%6. Export that?")
          .arg(lines.join('\n'), textOf(near->estimate.step_time), textOf(plan.estimate.step_time),
               textOf(near->estimate.memory.peak_device), textOf(near->estimate.memory.capacity),
               near->estimate.fits ? QString() : tr(": it does not fit")));
  return answer == QMessageBox::Yes ? near : std::nullopt;
}

void MainWindow::exportFor(const planner::ExportTarget& target) {
  const auto& detail = m_workspace.detailing.detail();
  if (!detail) return;
  try {
    const auto plan = exportable(detail->plan(), target);
    if (!plan) return;
    const planner::Export exported = planner::export_plan(*plan, target);
    const QString path =
        QFileDialog::getSaveFileName(this, tr("Export for %1").arg(target.version),
                                     QString::fromStdString(planner::default_file_name(target)));
    if (path.isEmpty()) return;
    common::write_file(path.toStdString(), exported.text);
    QStringList lines;
    for (const std::string& line : exported.for_the_script)
      lines.append(QString::fromStdString(line));
    if (!lines.isEmpty())
      QMessageBox::information(this, tr("Not said by this file"), lines.join('\n'));
  } catch (const std::exception& error) {
    complain(tr("Cannot export for %1").arg(target.version), error);
  }
}

void MainWindow::exportPicture() {
  const QString path = QFileDialog::getSaveFileName(
      this, tr("Export a picture of all views, or a report"), "report.pdf",
      tr("Report (*.pdf);;Picture (*.png);;Vector picture (*.svg)"));
  if (path.isEmpty()) return;
  try {
    exportViews(m_workspace, {.path = path});
  } catch (const std::exception& error) {
    complain(tr("Cannot export"), error);
  }
}

void MainWindow::showState() {
  const LayoutSet& set = m_workspace.selection.set();
  const Pricing& pricing = m_workspace.pricing;
  if (!pricing.failure().isEmpty()) {
    m_state->setText(pricing.failure());
  } else if (!pricing.errors().empty()) {
    m_state->setText(tr("Some inputs are wrong, see there; the views show the layouts before."));
  } else if (pricing.isBusy() && set.size() == 0) {
    m_state->setText(tr("Pricing layouts ..."));
  } else {
    m_state->setText(tr("%1 layouts keep the rules, %2 of them fit%3%4")
                         .arg(countText(static_cast<std::int64_t>(set.size())),
                              countText(static_cast<std::int64_t>(set.fitting)),
                              set.cut ? tr("; there are more, of which the fastest are shown") : "",
                              pricing.isBusy() ? tr(" ...") : ""));
  }
}

void MainWindow::showTitle() {
  const Document& document = m_workspace.document;
  const QString name =
      document.path().isEmpty() ? tr("new session") : QFileInfo(document.path()).fileName();
  setWindowTitle(QString("%1[*] - meshplan").arg(name));
  setWindowModified(!document.path().isEmpty() && !m_workspace.document.undoStack()->isClean());
}

void MainWindow::closeEvent(QCloseEvent* event) {
  if (!mayDiscard()) return event->ignore();
  QSettings().setValue(kGeometry, saveGeometry());
  event->accept();
}

void MainWindow::dragEnterEvent(QDragEnterEvent* event) {
  if (event->mimeData()->hasUrls()) event->acceptProposedAction();
}

void MainWindow::dropEvent(QDropEvent* event) {
  for (const QUrl& url : event->mimeData()->urls()) {
    if (url.isLocalFile()) openFile(url.toLocalFile());
  }
}

}  // namespace meshplan::gui

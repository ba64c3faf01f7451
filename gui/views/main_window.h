// SPDX-License-Identifier: GPL-3.0-or-later
#pragma once

#include <QLabel>
#include <QMainWindow>
#include <QTabWidget>

#include "gui/models/autosave.h"
#include "gui/models/recent_files.h"
#include "gui/models/workspace.h"
#include "planner/plan/exporters/exporter.h"

namespace meshplan::gui {

class InputsPanel;
class MeshView;
class TradeoffView;

/// Wires inputs and views to one workspace; has the menus and the files.
class MainWindow : public QMainWindow {
  Q_OBJECT

 public:
  explicit MainWindow(QWidget* parent = nullptr);
  ~MainWindow() override;

  Workspace& workspace() { return m_workspace; }
  InputsPanel& inputs() { return *m_inputs; }
  QTabWidget& tabs() { return *m_tabs; }

  /// Says what is wrong in a dialog, and returns false, where the file cannot be opened.
  bool openFile(const QString& path);
  bool save();
  /// Asks whether to go on with what a program that did not end in order left.
  void offerLeftSession();

 protected:
  void closeEvent(QCloseEvent* event) override;
  void dragEnterEvent(QDragEnterEvent* event) override;
  void dropEvent(QDropEvent* event) override;

 private:
  void makeFileMenu();
  void makeEditMenu();
  void makeViewMenu();
  void makeHelpMenu();
  void makeCentre();
  void fillRecent(QMenu& menu);
  void askAndOpen();
  bool saveAs();
  bool saveTo(const QString& path);
  /// Asks whether to save what has changed; false: the user wants to go on with it.
  bool mayDiscard();
  void exportPlan();
  void exportFor(const planner::ExportTarget& target);
  /// The plan, or the nearest that the target can express if the user wants it; nothing where there
  /// is none, which is said, or where it is not wanted.
  std::optional<planner::Plan> exportable(const planner::Plan& plan,
                                          const planner::ExportTarget& target);
  void exportPicture();
  void complain(const QString& what, const std::exception& error);
  void showState();
  void showTitle();

  Workspace m_workspace;
  Autosave m_autosave{m_workspace.document, m_workspace.selection, Autosave::usualFolder()};
  RecentFiles m_recent;
  InputsPanel* m_inputs = nullptr;
  TradeoffView* m_tradeoff = nullptr;
  MeshView* m_mesh = nullptr;
  QTabWidget* m_tabs = nullptr;
  QLabel* m_state = nullptr;
};

}  // namespace meshplan::gui

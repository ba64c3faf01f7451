// SPDX-License-Identifier: GPL-3.0-or-later
#pragma once

#include <QLabel>

#include "gui/models/workspace.h"
#include "gui/views/view.h"

namespace meshplan::gui {

/// What tensor parallelism sends against what FSDP does, over the length of the sequence. The line
/// of the job's own length can be dragged, and sets it.
class TrafficView : public View {
  Q_OBJECT

 public:
  explicit TrafficView(Workspace& workspace, QWidget* parent = nullptr);

  void drawTo(Canvas& canvas, const QSize& size) override;
  Plot& plot() { return *m_plot; }

 private:
  void rebuild();
  void addCurves(const LayoutDetail& detail);
  void showCrossing(const LayoutDetail& detail);
  void drag(const QPointF& point);
  bool eventFilter(QObject* watched, QEvent* event) override;

  Workspace& m_workspace;
  Plot* m_plot;
  QLabel* m_words;
  bool m_drags = false;
};

}  // namespace meshplan::gui

// SPDX-License-Identifier: GPL-3.0-or-later
#pragma once

#include <QComboBox>
#include <QLabel>

#include "gui/models/workspace.h"
#include "gui/views/view.h"

namespace meshplan::gui {

/// What tensor parallelism sends against what FSDP does, over the length of the sequence or the
/// size of the microbatch. The line of the job's own can be dragged, and sets it.
class TrafficView : public View {
  Q_OBJECT

 public:
  explicit TrafficView(Workspace& workspace, QWidget* parent = nullptr);

  void drawTo(Canvas& canvas, const QSize& size) override;
  Plot& plot() { return *m_plot; }
  QComboBox& axisChoice() { return *m_axisChoice; }
  TrafficAxis axis() const { return static_cast<TrafficAxis>(m_axisChoice->currentIndex()); }

 private:
  void rebuild();
  void addCurves(const LayoutDetail& detail);
  void showCrossing(const LayoutDetail& detail);
  void drag(const QPointF& point);
  void setMicrobatch(std::int64_t sequences);
  bool eventFilter(QObject* watched, QEvent* event) override;

  Workspace& m_workspace;
  Plot* m_plot;
  QComboBox* m_axisChoice;
  QLabel* m_words;
  /// Where the job stands; of the plot.
  QCPGraph* m_cursor = nullptr;
  double m_own = 0;
  bool m_drags = false;
};

}  // namespace meshplan::gui

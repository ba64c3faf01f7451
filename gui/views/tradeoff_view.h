// SPDX-License-Identifier: GPL-3.0-or-later
#pragma once

#include <QComboBox>
#include <QRubberBand>

#include "gui/models/tradeoff.h"
#include "gui/models/workspace.h"
#include "gui/views/view.h"

namespace meshplan::gui {

/// Every layout a point. A click selects, with Ctrl it compares; the wheel zooms, dragging pans,
/// and with Shift marks an area.
class TradeoffView : public View {
  Q_OBJECT

 public:
  explicit TradeoffView(Workspace& workspace, QWidget* parent = nullptr);

  void drawTo(Canvas& canvas, const QSize& size) override;
  Plot& plot() { return *m_plot; }
  /// The shown layout nearest to the point of the plot, within a few pixels; kNone otherwise.
  std::size_t layoutAt(const QPointF& point) const;
  /// Where the layout is drawn in the plot.
  QPointF pointOf(std::size_t layout) const;

 private:
  void rebuild();
  void fitRanges();
  void placeMarks();
  void addSeries(const TradeoffSeries& series, std::size_t category);
  void mark(QCPGraph& graph, std::size_t layout);
  QComboBox* makeAxisChoice(const QString& name, Quantity initial);
  bool eventFilter(QObject* watched, QEvent* event) override;
  /// Of a drag with Shift: the area that tables are narrowed to.
  bool markArea(QEvent* event);
  void placeArea();
  void showToolTip(const QPoint& at);

  Workspace& m_workspace;
  Tradeoff m_cloud;
  Plot* m_plot;
  QComboBox* m_xAxis;
  QComboBox* m_yAxis;
  QCPGraph* m_selected = nullptr;
  QCPGraph* m_compared = nullptr;
  QPoint m_pressedAt;
  QRubberBand m_band;
  QCPItemRect* m_area;
};

}  // namespace meshplan::gui

// SPDX-License-Identifier: GPL-3.0-or-later
#pragma once

#include <QPixmap>
#include <QWidget>

#include "gui/models/mesh_cells.h"
#include "gui/models/workspace.h"

namespace meshplan::gui {

/// The mesh's ranks as cells. Hovering lights a rank's groups, a click or the arrow keys select it;
/// the wheel and + - zoom, dragging pans, Home shows all.
class MeshCanvas : public QWidget {
  Q_OBJECT

 public:
  explicit MeshCanvas(Workspace& workspace, QWidget* parent = nullptr);

  void setColor(MeshColor color);
  MeshColor color() const { return m_color; }
  const MeshCells& cells() const { return m_cells; }
  void fit();
  void zoomAt(const QPointF& point, double factor);
  /// Draws all of the mesh into a picture of this size.
  void draw(QPainter& painter, const QSize& size);
  /// Where a rank is drawn.
  QRectF rectOf(std::int64_t rank) const;

 Q_SIGNALS:
  /// kNoRank when the mouse has left.
  void hovered(std::int64_t rank);

 protected:
  void paintEvent(QPaintEvent* event) override;
  void resizeEvent(QResizeEvent* event) override;
  void mousePressEvent(QMouseEvent* event) override;
  void mouseMoveEvent(QMouseEvent* event) override;
  void mouseReleaseEvent(QMouseEvent* event) override;
  void leaveEvent(QEvent* event) override;
  void wheelEvent(QWheelEvent* event) override;
  void keyPressEvent(QKeyEvent* event) override;
  void changeEvent(QEvent* event) override;

 private:
  void follow();
  /// Scale and place at which all of the mesh fits.
  void fitInto(const QSizeF& size);
  void invalidate();
  void paintCells(QPainter& painter, const QRectF& area) const;
  void paintGroups(QPainter& painter, const QRectF& area) const;
  void paintEmpty(QPainter& painter, const QSize& size) const;
  /// What a scale tells of the rank; NaN while it is not known.
  double part(std::int64_t rank) const;
  QColor colorOf(std::int64_t rank) const;
  QString labelOf(std::int64_t rank) const;
  QPointF toMesh(const QPointF& point) const;

  Workspace& m_workspace;
  MeshCells m_cells;
  MeshColor m_color = MeshColor::kTpGroup;
  /// Pixels a cell, and where the mesh begins.
  double m_scale = 1;
  QPointF m_origin;
  bool m_fitted = true;
  std::int64_t m_hovered = kNoRank;
  QPointF m_pressedAt;
  QPointF m_originAtPress;
  /// All but the lit groups, which change with the mouse.
  QPixmap m_base;
};

}  // namespace meshplan::gui

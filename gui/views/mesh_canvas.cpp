// SPDX-License-Identifier: GPL-3.0-or-later
#include "gui/views/mesh_canvas.h"

#include <QKeyEvent>
#include <QPainter>
#include <cmath>

#include "gui/models/colors.h"
#include "planner/explain/rejections.h"

namespace meshplan::gui {
namespace {

using planner::Axis;

constexpr double kMargin = 10;
constexpr double kLargestCell = 56;
/// Cells that are smaller have no border, and no text.
constexpr double kBordered = 5;
constexpr double kWritten = 26;
constexpr double kDragged = 4;

/// How the groups of an axis are lit: colour, and pattern as the second cue.
struct GroupStyle {
  Axis axis;
  std::size_t category;
  Qt::PenStyle line;
};
constexpr std::array<GroupStyle, 5> kStyles = {{{Axis::kPp, 3, Qt::DashDotDotLine},
                                                {Axis::kDpReplicate, 2, Qt::DashDotLine},
                                                {Axis::kDpShard, 5, Qt::DashLine},
                                                {Axis::kCp, 4, Qt::DotLine},
                                                {Axis::kTp, 0, Qt::SolidLine}}};

}  // namespace

MeshCanvas::MeshCanvas(Workspace& workspace, QWidget* parent)
    : QWidget(parent), m_workspace(workspace) {
  setAccessibleName(tr("Device mesh"));
  setAccessibleDescription(tr("Ranks as cells, framed by node. Arrow keys select a rank."));
  setFocusPolicy(Qt::StrongFocus);
  setMouseTracking(true);
  setMinimumSize(160, 120);
  connect(&workspace.selection, &Selection::layoutChanged, this, &MeshCanvas::follow);
  connect(&workspace.selection, &Selection::rankChanged, this, qOverload<>(&QWidget::update));
  connect(&workspace.detailing, &Detailing::detailChanged, this, [this] {
    if (isScale(m_color)) invalidate();
  });
  follow();
}

void MeshCanvas::setColor(MeshColor color) {
  m_color = color;
  invalidate();
}

void MeshCanvas::follow() {
  const Selection& selection = m_workspace.selection;
  const planner::DeviceMesh mesh = selection.layout() == kNone
                                       ? planner::DeviceMesh{}
                                       : selection.set().layouts[selection.layout()].mesh;
  const bool same = mesh == m_cells.mesh() && m_cells.ranks() > 0;
  m_hovered = kNoRank;
  if (!same || selection.layout() == kNone)
    m_cells = selection.layout() == kNone ? MeshCells() : MeshCells(mesh);
  if (!same) fit();
  invalidate();
}

void MeshCanvas::invalidate() {
  m_base = {};
  update();
}

void MeshCanvas::fitInto(const QSizeF& size) {
  const QRectF bounds = m_cells.bounds();
  const double across = (size.width() - 2 * kMargin) / std::max(1.0, bounds.width());
  const double down = (size.height() - 2 * kMargin) / std::max(1.0, bounds.height());
  m_scale = std::clamp(std::min(across, down), 0.05, kLargestCell);
  m_origin = QPointF((size.width() - m_scale * bounds.width()) / 2,
                     (size.height() - m_scale * bounds.height()) / 2);
}

void MeshCanvas::fit() {
  m_fitted = true;
  fitInto(size());
  invalidate();
}

void MeshCanvas::zoomAt(const QPointF& point, double factor) {
  const QPointF held = toMesh(point);
  m_scale = std::clamp(m_scale * factor, 0.05, 4 * kLargestCell);
  m_origin = point - held * m_scale;
  m_fitted = false;
  invalidate();
}

QPointF MeshCanvas::toMesh(const QPointF& point) const { return (point - m_origin) / m_scale; }

QRectF MeshCanvas::rectOf(std::int64_t rank) const {
  const QRectF cell = m_cells.cellOf(rank);
  return {m_origin + cell.topLeft() * m_scale, cell.size() * m_scale};
}

double MeshCanvas::part(std::int64_t rank) const {
  const auto& detail = m_workspace.detailing.detail();
  const bool current = detail && detail->candidate.layout.mesh == m_cells.mesh();
  return current ? partOf(*detail, m_color, rank) : std::numeric_limits<double>::quiet_NaN();
}

QColor MeshCanvas::colorOf(std::int64_t rank) const {
  if (!isScale(m_color))
    return categoryColor(static_cast<std::size_t>(categoryOf(m_cells.mesh(), m_color, rank)));
  const double known = part(rank);
  return std::isnan(known) ? ink().line : scaleColor(known);
}

QString MeshCanvas::labelOf(std::int64_t rank) const {
  if (!isScale(m_color)) return QString::number(rank);
  const double known = part(rank);
  return std::isnan(known) ? "" : QString("%1%").arg(std::lround(100 * known));
}

void MeshCanvas::paintCells(QPainter& painter, const QRectF& area) const {
  const Ink colors = ink();
  const auto [first, last] = m_cells.nodesIn({toMesh(area.topLeft()), toMesh(area.bottomRight())});
  const std::int64_t perNode = std::max<std::int64_t>(1, m_cells.mesh().ranks_per_node);
  const bool written = m_scale >= kWritten;
  const double inset = m_scale >= kBordered ? 0.5 : 0;
  painter.setFont(font());
  for (std::int64_t node = first; node < last; ++node) {
    const QRectF frame = m_cells.nodeFrame(node);
    const QRectF onScreen(m_origin + frame.topLeft() * m_scale, frame.size() * m_scale);
    if (!onScreen.intersects(area)) continue;
    if (m_scale >= 2) {
      painter.setPen(QPen(colors.faint, m_scale >= kWritten ? 1.5 : 0.8));
      painter.setBrush(Qt::NoBrush);
      painter.drawRect(onScreen);
    }
    const std::int64_t end = std::min(m_cells.ranks(), (node + 1) * perNode);
    for (std::int64_t rank = node * perNode; rank < end; ++rank) {
      const QRectF cell = rectOf(rank).adjusted(inset, inset, -inset, -inset);
      const QColor color = colorOf(rank);
      painter.fillRect(cell, color);
      if (!written) continue;
      painter.setPen(textOn(color));
      painter.drawText(cell, Qt::AlignCenter, labelOf(rank));
    }
  }
}

void MeshCanvas::paintGroups(QPainter& painter, const QRectF& area) const {
  const std::int64_t rank = m_hovered != kNoRank ? m_hovered : m_workspace.selection.rank();
  if (rank >= m_cells.ranks()) return;
  const Ink colors = ink();
  const double width = std::clamp(m_scale / 10, 1.5, 3.5);
  painter.setBrush(Qt::NoBrush);
  for (const GroupStyle& style : kStyles) {
    if (m_cells.mesh().sizes[style.axis] == 1) continue;
    const auto members = planner::group_of(m_cells.mesh(), style.axis, rank);
    for (const std::int64_t member : members) {
      const QRectF cell = rectOf(member);
      if (!cell.intersects(area)) continue;
      painter.setPen(QPen(colors.ground, width + 2));
      painter.drawRect(cell);
      painter.setPen(QPen(categoryColor(style.category), width, style.line));
      painter.drawRect(cell);
    }
  }
  painter.setPen(QPen(colors.accent, width + 1.5));
  painter.drawRect(rectOf(rank));
}

void MeshCanvas::paintEmpty(QPainter& painter, const QSize& size) const {
  const LayoutSet& set = m_workspace.selection.set();
  QString text = tr("Looking for layouts ...");
  if (set.problem) {
    text = tr("No mesh to show: none of the allowed sizes keeps the rules and fits.\n\n") +
           QString::fromStdString(planner::rejection_text(set.ranked.rejected, 4));
  }
  painter.setPen(ink().text);
  painter.setFont(font());
  painter.drawText(QRectF(QPointF(), size).adjusted(16, 16, -16, -16),
                   static_cast<int>(Qt::AlignCenter) | Qt::TextWordWrap, text);
}

void MeshCanvas::paintEvent(QPaintEvent*) {
  const qreal ratio = devicePixelRatioF();
  if (m_base.isNull()) {
    m_base = QPixmap(size() * ratio);
    m_base.setDevicePixelRatio(ratio);
    m_base.fill(ink().ground);
    QPainter painter(&m_base);
    if (m_cells.ranks() > 0)
      paintCells(painter, rect());
    else
      paintEmpty(painter, size());
  }
  QPainter painter(this);
  painter.drawPixmap(0, 0, m_base);
  if (m_cells.ranks() > 0) paintGroups(painter, rect());
  if (!hasFocus()) return;
  painter.setPen(QPen(ink().faint, 1, Qt::DotLine));
  painter.drawRect(rect().adjusted(0, 0, -1, -1));
}

void MeshCanvas::draw(QPainter& painter, const QSize& size) {
  const double scale = m_scale;
  const QPointF origin = m_origin;
  fitInto(size);
  const QRectF all(0, 0, size.width(), size.height());
  painter.fillRect(all, ink().ground);
  if (m_cells.ranks() > 0) {
    paintCells(painter, all);
    paintGroups(painter, all);
  } else {
    paintEmpty(painter, size);
  }
  m_scale = scale;
  m_origin = origin;
}

void MeshCanvas::resizeEvent(QResizeEvent*) {
  if (m_fitted) fitInto(size());
  invalidate();
}

void MeshCanvas::mousePressEvent(QMouseEvent* event) {
  m_pressedAt = event->position();
  m_originAtPress = m_origin;
}

void MeshCanvas::mouseMoveEvent(QMouseEvent* event) {
  const QPointF moved = event->position() - m_pressedAt;
  if (event->buttons().testFlag(Qt::LeftButton) && moved.manhattanLength() > kDragged) {
    m_origin = m_originAtPress + moved;
    m_fitted = false;
    invalidate();
    return;
  }
  const std::int64_t rank = m_cells.rankAt(toMesh(event->position()));
  if (rank == m_hovered) return;
  m_hovered = rank;
  Q_EMIT hovered(rank);
  update();
}

void MeshCanvas::mouseReleaseEvent(QMouseEvent* event) {
  if ((event->position() - m_pressedAt).manhattanLength() > kDragged) return;
  const std::int64_t rank = m_cells.rankAt(toMesh(event->position()));
  if (rank != kNoRank) m_workspace.selection.selectRank(rank);
}

void MeshCanvas::leaveEvent(QEvent*) {
  m_hovered = kNoRank;
  Q_EMIT hovered(kNoRank);
  update();
}

void MeshCanvas::wheelEvent(QWheelEvent* event) {
  zoomAt(event->position(), std::pow(1.0015, event->angleDelta().y()));
}

void MeshCanvas::keyPressEvent(QKeyEvent* event) {
  const std::int64_t rank = m_workspace.selection.rank();
  const std::int64_t tp = m_cells.mesh().sizes[Axis::kTp];
  switch (event->key()) {
    case Qt::Key_Left:
      return m_workspace.selection.selectRank(rank - 1);
    case Qt::Key_Right:
      return m_workspace.selection.selectRank(rank + 1);
    case Qt::Key_Up:
      return m_workspace.selection.selectRank(rank - tp);
    case Qt::Key_Down:
      return m_workspace.selection.selectRank(rank + tp);
    case Qt::Key_Plus:
      return zoomAt(rect().center(), 1.25);
    case Qt::Key_Minus:
      return zoomAt(rect().center(), 0.8);
    case Qt::Key_Home:
      return fit();
    default:
      QWidget::keyPressEvent(event);
  }
}

void MeshCanvas::changeEvent(QEvent* event) {
  QWidget::changeEvent(event);
  if (event->type() == QEvent::PaletteChange || event->type() == QEvent::FontChange) invalidate();
}

}  // namespace meshplan::gui

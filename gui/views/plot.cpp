// SPDX-License-Identifier: GPL-3.0-or-later
#include "gui/views/plot.h"

#include "gui/models/colors.h"

namespace meshplan::gui {

Plot::Plot(const QString& accessibleName, QWidget* parent)
    : QCustomPlot(parent), m_message(new QCPItemText(this)) {
  setAccessibleName(accessibleName);
  setFocusPolicy(Qt::StrongFocus);
  setAntialiasedElements(QCP::aeAll);
  setNoAntialiasingOnDrag(true);
  m_message->position->setType(QCPItemPosition::ptAxisRectRatio);
  m_message->position->setCoords(0.5, 0.5);
  m_message->setVisible(false);
  m_message->setClipToAxisRect(false);
  applyInk();
}

void Plot::useLogarithmicAxis(QCPAxis& axis, const QCPRange& range) {
  axis.setScaleType(QCPAxis::stLogarithmic);
  axis.setRange(range);
  // Within a decade or so the ticks of powers would be too few.
  constexpr double kWide = 20;
  const bool wide = range.upper > kWide * range.lower;
  axis.setTicker(wide ? QSharedPointer<QCPAxisTicker>(new QCPAxisTickerLog)
                      : QSharedPointer<QCPAxisTicker>(new QCPAxisTicker));
  axis.setNumberFormat("gb");
  axis.setNumberPrecision(wide ? 1 : 4);
}

QCPScatterStyle Plot::marker(std::size_t category, const QColor& color, double size) {
  static constexpr std::array kShapes = {
      QCPScatterStyle::ssDisc,    QCPScatterStyle::ssSquare,           QCPScatterStyle::ssTriangle,
      QCPScatterStyle::ssDiamond, QCPScatterStyle::ssTriangleInverted, QCPScatterStyle::ssStar,
      QCPScatterStyle::ssPlus,    QCPScatterStyle::ssCrossSquare};
  const QCPScatterStyle::ScatterShape shape = kShapes[category % kShapes.size()];
  QColor inside = color;
  inside.setAlpha(150);
  return {shape, QPen(color, 1), QBrush(inside), size};
}

QBrush Plot::fill(std::size_t category) {
  static constexpr std::size_t kPlain = 5;
  const QColor color = categoryColor(category);
  return category < kPlain ? QBrush(color) : QBrush(color, Qt::BDiagPattern);
}

void Plot::showMessage(const QString& text) {
  m_message->setText(text);
  m_message->setVisible(!text.isEmpty());
}

void Plot::changeEvent(QEvent* event) {
  QCustomPlot::changeEvent(event);
  if (event->type() != QEvent::PaletteChange) return;
  applyInk();
  Q_EMIT inkChanged();
  replot(rpQueuedReplot);
}

void Plot::applyInk() {
  const Ink colors = ink();
  setBackground(colors.ground);
  for (QCPAxis* axis : {xAxis, yAxis, xAxis2, yAxis2}) {
    axis->setBasePen(QPen(colors.faint));
    axis->setTickPen(QPen(colors.faint));
    axis->setSubTickPen(QPen(colors.line));
    axis->setTickLabelColor(colors.text);
    axis->setLabelColor(colors.text);
    axis->setTickLabelFont(font());
    axis->setLabelFont(font());
    axis->grid()->setPen(QPen(colors.line, 0, Qt::DotLine));
  }
  QColor ground = colors.ground;
  ground.setAlpha(220);
  legend->setBrush(ground);
  legend->setBorderPen(QPen(colors.line));
  legend->setTextColor(colors.text);
  legend->setFont(font());
  m_message->setColor(colors.faint);
  m_message->setFont(font());
}

}  // namespace meshplan::gui

// SPDX-License-Identifier: GPL-3.0-or-later
#include "gui/views/plot.h"

#include <utility>

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
  // Powers of a base that gives a handful of ticks; even steps where the range is narrow.
  constexpr double kNarrow = 5;
  constexpr double kMiddle = 64;
  constexpr double kWide = 1e4;
  const double ratio = range.upper / range.lower;
  if (ratio < kNarrow) {
    axis.setTicker(QSharedPointer<QCPAxisTicker>(new QCPAxisTicker));
  } else {
    QSharedPointer<QCPAxisTickerLog> powers(new QCPAxisTickerLog);
    powers->setLogBase(ratio < kMiddle ? 2 : ratio < kWide ? 4 : 10);
    axis.setTicker(powers);
  }
  const bool plain = range.upper < 1e6 && range.lower > 1e-4;
  axis.setNumberFormat(plain ? "g" : "gb");
  axis.setNumberPrecision(plain ? 6 : 1);
}

void Plot::putLegendBeside() {
  auto* beside = new QCPLayoutGrid;
  plotLayout()->addElement(0, 1, beside);
  beside->addElement(0, 0, legend);
  beside->addElement(1, 0, new QCPLayoutElement(this));
  beside->setRowStretchFactor(0, 0.001);
  plotLayout()->setColumnStretchFactor(1, 0.001);
  legend->setFillOrder(QCPLegend::foRowsFirst);
  legend->setBorderPen(Qt::NoPen);
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
  return category < kPlain ? QBrush(color) : QBrush(color, Qt::Dense4Pattern);
}

void Plot::showMessage(const QString& text) {
  m_message->setText(text);
  m_message->setVisible(!text.isEmpty());
}

void Plot::replotWhenShown() {
  m_isOutOfDate = !isVisible();
  if (!m_isOutOfDate) replot(rpQueuedReplot);
}

void Plot::showEvent(QShowEvent* event) {
  QCustomPlot::showEvent(event);
  if (std::exchange(m_isOutOfDate, false)) replot();
}

void Plot::changeEvent(QEvent* event) {
  QCustomPlot::changeEvent(event);
  if (event->type() != QEvent::PaletteChange) return;
  applyInk();
  Q_EMIT inkChanged();
  replotWhenShown();
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
  if (legend->borderPen() != Qt::NoPen) legend->setBorderPen(QPen(colors.line));
  legend->setTextColor(colors.text);
  legend->setFont(font());
  m_message->setColor(colors.faint);
  m_message->setFont(font());
}

}  // namespace meshplan::gui

// SPDX-License-Identifier: GPL-3.0-or-later
#include "gui/views/tradeoff_view.h"

#include <QHBoxLayout>
#include <QLabel>
#include <QToolTip>
#include <cmath>

#include "gui/models/colors.h"

namespace meshplan::gui {
namespace {

constexpr double kReach = 14;
constexpr double kPointSize = 6;
constexpr double kMarkSize = 15;

QString axisLabel(Quantity quantity) {
  const QuantityInfo& info = infoOf(quantity);
  const QString unit = info.unit;
  return unit.isEmpty() ? QObject::tr(info.label)
                        : QString("%1 (%2)").arg(QObject::tr(info.label), unit);
}

/// A graph of points without a line between them.
QCPGraph* pointsOf(Plot& plot, const TradeoffSeries& series) {
  QCPGraph* graph = plot.addGraph();
  graph->setLineStyle(QCPGraph::lsNone);
  graph->setData(series.x, series.y);
  return graph;
}

}  // namespace

TradeoffView::TradeoffView(Workspace& workspace, QWidget* parent)
    : View(parent),
      m_workspace(workspace),
      m_plot(new Plot(tr("Trade-off of layouts"), this)),
      m_band(QRubberBand::Rectangle, m_plot),
      m_area(new QCPItemRect(m_plot)) {
  m_xAxis = makeAxisChoice(tr("Horizontal axis"), Quantity::kMemory);
  m_yAxis = makeAxisChoice(tr("Vertical axis"), Quantity::kTimePerToken);
  auto* bar = new QHBoxLayout;
  bar->addWidget(m_yAxis);
  bar->addWidget(new QLabel(tr("over")));
  bar->addWidget(m_xAxis);
  bar->addStretch();
  auto* all = new QVBoxLayout(this);
  all->setContentsMargins(4, 4, 4, 4);
  all->addLayout(bar);
  all->addWidget(m_plot);
  m_plot->putLegendBeside();
  m_plot->setInteractions(QCP::iRangeDrag | QCP::iRangeZoom);
  m_plot->installEventFilter(this);
  m_plot->setMouseTracking(true);
  connect(&workspace.selection, &Selection::setChanged, this, &TradeoffView::rebuild);
  connect(&workspace.selection, &Selection::layoutChanged, this, &TradeoffView::placeMarks);
  connect(&workspace.selection, &Selection::comparedChanged, this, &TradeoffView::placeMarks);
  connect(&workspace.selection, &Selection::areaChanged, this, &TradeoffView::placeArea);
  connect(m_plot, &Plot::inkChanged, this, &TradeoffView::rebuild);
  connect(m_plot, &QCustomPlot::mouseDoubleClick, this, [this] {
    fitRanges();
    m_plot->replot();
  });
  rebuild();
}

QComboBox* TradeoffView::makeAxisChoice(const QString& name, Quantity initial) {
  auto* box = new QComboBox(this);
  box->setAccessibleName(name);
  for (const QuantityInfo& info : allQuantities()) {
    box->addItem(tr(info.label));
    box->setItemData(box->count() - 1, tr(info.help), Qt::ToolTipRole);
  }
  box->setCurrentIndex(static_cast<int>(initial));
  connect(box, &QComboBox::currentIndexChanged, this, &TradeoffView::rebuild);
  return box;
}

void TradeoffView::addSeries(const TradeoffSeries& series, std::size_t category) {
  QCPGraph* graph = pointsOf(*m_plot, series);
  if (series.tp == 0) {
    graph->setName(tr("do not fit"));
    graph->setScatterStyle({QCPScatterStyle::ssCross, QPen(ink().line, 1), Qt::NoBrush, 4});
  } else {
    graph->setName(QString("tp %1").arg(series.tp));
    graph->setScatterStyle(Plot::marker(category, categoryColor(category), kPointSize));
  }
}

void TradeoffView::rebuild() {
  const LayoutSet& set = m_workspace.selection.set();
  m_cloud = tradeoffOf(set, static_cast<Quantity>(m_xAxis->currentIndex()),
                       static_cast<Quantity>(m_yAxis->currentIndex()));
  m_plot->clearGraphs();
  const Ink colors = ink();
  QCPGraph* frontier = m_plot->addGraph();
  frontier->setName(tr("frontier"));
  frontier->setData(m_cloud.frontier.x, m_cloud.frontier.y);
  frontier->setPen(QPen(colors.text, 1.2));
  std::size_t category = 0;
  for (const TradeoffSeries& series : m_cloud.series)
    addSeries(series, series.tp == 0 ? 0 : category++);
  if (m_cloud.memoryLimit) {
    QCPGraph* limit = m_plot->addGraph();
    limit->setName(tr("memory limit"));
    limit->setPen(QPen(colors.alarm, 2, Qt::DashLine));
    const double at = *m_cloud.memoryLimit;
    const QVector<double> along = {1e-12, 1e18};
    if (m_cloud.xAxis == Quantity::kMemory)
      limit->setData({at, at}, along);
    else
      limit->setData(along, {at, at});
  }
  m_compared = m_plot->addGraph();
  m_selected = m_plot->addGraph();
  for (QCPGraph* graph : {m_compared, m_selected}) graph->setLineStyle(QCPGraph::lsNone);
  m_selected->setName(tr("selected"));
  m_selected->setScatterStyle(
      {QCPScatterStyle::ssCircle, QPen(colors.accent, 2.5), Qt::NoBrush, kMarkSize});
  m_compared->setName(tr("compared"));
  m_compared->setScatterStyle(
      {QCPScatterStyle::ssSquare, QPen(colors.accent, 1.5, Qt::DashLine), Qt::NoBrush, kMarkSize});
  m_plot->xAxis->setLabel(axisLabel(m_cloud.xAxis));
  m_plot->yAxis->setLabel(axisLabel(m_cloud.yAxis));
  m_plot->legend->setVisible(set.size() > 0);
  m_plot->showMessage(set.size() > 0 ? "" : tr("No layout keeps the rules: see the layouts below"));
  fitRanges();
  placeArea();
  placeMarks();
}

void TradeoffView::fitRanges() {
  // What fits, up to a little beyond the limit: what does not fit may need a hundred times as much.
  QCPRange x(0, 0);
  QCPRange y(0, 0);
  const auto include = [](QCPRange& range, double value) {
    if (!(value > 0)) return;
    range = range.upper > 0 ? range.expanded(QCPRange(value, value)) : QCPRange(value, value);
  };
  for (const TradeoffSeries& series : m_cloud.series) {
    if (series.tp == 0 && m_workspace.selection.set().fitting > 0) continue;
    for (const double value : series.x) include(x, value);
    for (const double value : series.y) include(y, value);
  }
  if (m_cloud.memoryLimit)
    include(m_cloud.xAxis == Quantity::kMemory ? x : y, *m_cloud.memoryLimit * 1.25);
  constexpr double kMargin = 1.12;
  const auto widened = [](const QCPRange& range) {
    return range.upper > 0 ? QCPRange(range.lower / kMargin, range.upper * kMargin)
                           : QCPRange(1, 10);
  };
  Plot::useLogarithmicAxis(*m_plot->xAxis, widened(x));
  Plot::useLogarithmicAxis(*m_plot->yAxis, widened(y));
}

void TradeoffView::mark(QCPGraph& graph, std::size_t layout) {
  const LayoutSet& set = m_workspace.selection.set();
  graph.setVisible(layout != kNone);
  if (layout == kNone)
    graph.removeFromLegend();
  else
    graph.addToLegend();
  if (layout == kNone) return;
  graph.setData({set.axisValue(m_cloud.xAxis, layout)}, {set.axisValue(m_cloud.yAxis, layout)});
}

void TradeoffView::placeMarks() {
  mark(*m_compared, m_workspace.selection.compared());
  mark(*m_selected, m_workspace.selection.layout());
  m_plot->replotWhenShown();
}

QPointF TradeoffView::pointOf(std::size_t layout) const {
  const LayoutSet& set = m_workspace.selection.set();
  return {m_plot->xAxis->coordToPixel(set.axisValue(m_cloud.xAxis, layout)),
          m_plot->yAxis->coordToPixel(set.axisValue(m_cloud.yAxis, layout))};
}

std::size_t TradeoffView::layoutAt(const QPointF& point) const {
  std::size_t nearest = kNone;
  double least = kReach * kReach;
  const auto look = [&](const TradeoffSeries& series) {
    for (std::size_t i = 0; i < series.layouts.size(); ++i) {
      const auto place = static_cast<qsizetype>(i);
      const double dx = m_plot->xAxis->coordToPixel(series.x[place]) - point.x();
      const double dy = m_plot->yAxis->coordToPixel(series.y[place]) - point.y();
      const double distance = dx * dx + dy * dy;
      if (!(distance < least)) continue;
      least = distance;
      nearest = series.layouts[i];
    }
  };
  look(m_cloud.frontier);
  for (const TradeoffSeries& series : m_cloud.series) look(series);
  return nearest;
}

void TradeoffView::placeArea() {
  const std::optional<Area>& area = m_workspace.selection.area();
  const bool shows = area && area->x == m_cloud.xAxis && area->y == m_cloud.yAxis;
  m_area->setVisible(shows);
  if (shows) {
    m_area->topLeft->setCoords(area->left, area->top);
    m_area->bottomRight->setCoords(area->right, area->bottom);
    m_area->setPen(QPen(ink().accent, 1, Qt::DashLine));
  }
  m_plot->replotWhenShown();
}

bool TradeoffView::markArea(QEvent* event) {
  const auto type = event->type();
  const bool mouse = type == QEvent::MouseButtonPress || type == QEvent::MouseMove ||
                     type == QEvent::MouseButtonRelease;
  if (!mouse) return false;
  const auto& at = *static_cast<QMouseEvent*>(event);
  if (type == QEvent::MouseButtonPress) {
    if (!at.modifiers().testFlag(Qt::ShiftModifier)) return false;
    m_pressedAt = at.pos();
    m_band.setGeometry(QRect(m_pressedAt, QSize()));
    m_band.show();
    return true;
  }
  if (!m_band.isVisible()) return false;
  const QRect marked = QRect(m_pressedAt, at.pos()).normalized();
  m_band.setGeometry(marked);
  if (type == QEvent::MouseMove) return true;
  m_band.hide();
  m_workspace.selection.narrowTo(Area{.x = m_cloud.xAxis,
                                      .y = m_cloud.yAxis,
                                      .left = m_plot->xAxis->pixelToCoord(marked.left()),
                                      .right = m_plot->xAxis->pixelToCoord(marked.right()),
                                      .bottom = m_plot->yAxis->pixelToCoord(marked.bottom()),
                                      .top = m_plot->yAxis->pixelToCoord(marked.top())});
  return true;
}

bool TradeoffView::eventFilter(QObject* watched, QEvent* event) {
  if (markArea(event)) return true;
  if (event->type() == QEvent::MouseButtonPress) {
    m_pressedAt = static_cast<QMouseEvent*>(event)->pos();
  } else if (event->type() == QEvent::MouseButtonRelease) {
    const auto& mouse = *static_cast<QMouseEvent*>(event);
    const bool moved = (mouse.pos() - m_pressedAt).manhattanLength() > 4;
    const std::size_t layout = moved ? kNone : layoutAt(mouse.position());
    if (layout != kNone && mouse.modifiers().testFlag(Qt::ControlModifier))
      m_workspace.selection.compareWith(layout);
    else if (layout != kNone)
      m_workspace.selection.select(layout);
  } else if (event->type() == QEvent::ToolTip) {
    showToolTip(static_cast<QHelpEvent*>(event)->pos());
    return true;
  }
  return View::eventFilter(watched, event);
}

void TradeoffView::showToolTip(const QPoint& at) {
  const LayoutSet& set = m_workspace.selection.set();
  const std::size_t layout = layoutAt(at);
  if (layout == kNone) return QToolTip::hideText();
  QString text = titleOf(set.layouts[layout]) + "\n" + choicesOf(set.layouts[layout]);
  for (const Quantity quantity :
       {Quantity::kStepTime, Quantity::kTokensPerSecond, Quantity::kMfu, Quantity::kMemory})
    text += QString("\n%1: %2")
                .arg(tr(infoOf(quantity).label), textOf(quantity, set.value(quantity, layout)));
  if (!set.fits[layout]) {
    text += tr("\nrejected: needs more than the device's %1")
                .arg(textOf(set.problem->cluster.device.memory));
  }
  QToolTip::showText(m_plot->mapToGlobal(at), text, m_plot);
}

void TradeoffView::drawTo(Canvas& canvas, const QSize& size) {
  m_plot->toPainter(&canvas, size.width(), size.height());
}

}  // namespace meshplan::gui

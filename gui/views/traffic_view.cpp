// SPDX-License-Identifier: GPL-3.0-or-later
#include "gui/views/traffic_view.h"

#include <QHBoxLayout>
#include <cmath>

#include "gui/models/colors.h"
#include "gui/models/traffic_curve.h"

namespace meshplan::gui {
namespace {

constexpr double kReach = 8;
/// Sequences that are dragged to are multiples of so many tokens.
constexpr std::int64_t kStep = 256;
constexpr double kGiB = 1024.0 * 1024 * 1024;

}  // namespace

TrafficView::TrafficView(Workspace& workspace, QWidget* parent)
    : View(parent),
      m_workspace(workspace),
      m_plot(new Plot(tr("TP against FSDP"), this)),
      m_axisChoice(new QComboBox(this)),
      m_words(new QLabel(this)) {
  m_axisChoice->addItems({tr("Sequence length"), tr("Microbatch")});
  m_axisChoice->setAccessibleName(tr("Horizontal axis"));
  m_axisChoice->setToolTip(
      tr("Over the length of sequences, or over how many of them a rank passes through at once; "
         "the global batch grows with those"));
  auto* bar = new QHBoxLayout;
  bar->addWidget(new QLabel(tr("Traffic over")));
  bar->addWidget(m_axisChoice);
  bar->addStretch();
  m_words->setWordWrap(true);
  auto* all = new QVBoxLayout(this);
  all->setContentsMargins(4, 4, 4, 4);
  all->addLayout(bar);
  all->addWidget(m_plot, 1);
  all->addWidget(m_words);
  m_plot->legend->setVisible(true);
  m_plot->putLegendBeside();
  m_plot->yAxis->setLabel(tr("Sent by a rank in a step (GiB)"));
  m_plot->installEventFilter(this);
  m_plot->setMouseTracking(true);
  m_plot->setToolTip(tr("Drag the dashed line to another place"));
  connect(&workspace.detailing, &Detailing::detailChanged, this, &TrafficView::rebuild);
  connect(m_plot, &Plot::inkChanged, this, &TrafficView::rebuild);
  connect(m_axisChoice, &QComboBox::currentIndexChanged, this, &TrafficView::rebuild);
  rebuild();
}

void TrafficView::addCurves(const LayoutDetail& detail) {
  const auto add = [&](const QString& name, double TrafficPoint::*value, std::size_t category,
                       Qt::PenStyle style) {
    QVector<double> xs;
    QVector<double> ys;
    for (const TrafficPoint& point : detail.traffic[static_cast<std::size_t>(axis())]) {
      if (point.*value <= 0) continue;
      xs.append(point.place);
      ys.append(point.*value / kGiB);
    }
    if (xs.isEmpty()) return;
    QCPGraph* graph = m_plot->addGraph();
    graph->setName(name);
    const QColor color = categoryColor(category);
    graph->setPen(QPen(color, style == Qt::SolidLine ? 2.5 : 1.5, style));
    if (style == Qt::SolidLine) graph->setScatterStyle(Plot::marker(category, color, 6));
    graph->setData(xs, ys);
  };
  add(tr("tp: exact wire bytes of a step"), &TrafficPoint::tpWire, 0, Qt::SolidLine);
  add(tr("dp_shard: exact wire bytes of a step"), &TrafficPoint::dpWire, 5, Qt::SolidLine);
  add(tr("tp: first order, one forward pass"), &TrafficPoint::firstOrderTp, 0, Qt::DotLine);
  add(tr("fsdp: first order, one gather"), &TrafficPoint::firstOrderFsdp, 5, Qt::DotLine);
}

void TrafficView::rebuild() {
  m_plot->clearGraphs();
  m_cursor = nullptr;
  const auto& detail = m_workspace.detailing.detail();
  const bool shows = detail && !detail->traffic[static_cast<std::size_t>(axis())].empty();
  m_plot->showMessage(shows ? "" : tr("No layout is selected"));
  m_words->clear();
  if (!shows) return m_plot->replotWhenShown();
  addCurves(*detail);
  const Ink colors = ink();
  m_plot->rescaleAxes();
  const QCPRange y = m_plot->yAxis->range();
  const QCPRange x = m_plot->xAxis->range();
  const QCPRange shown(y.lower / 1.5, y.upper * 1.5);
  Plot::useLogarithmicAxis(*m_plot->yAxis, shown);
  Plot::useLogarithmicAxis(*m_plot->xAxis, {x.lower / 1.1, std::min(x.upper * 1.1, 9.9e5)});
  const std::int64_t own = ownPlace(*detail->problem, detail->trafficLayout, axis());
  m_own = static_cast<double>(own);
  const bool overSequence = axis() == TrafficAxis::kSequence;
  m_plot->xAxis->setLabel(overSequence ? tr("Sequence length (tokens)")
                                       : tr("Microbatch (sequences of a rank's forward pass)"));
  m_cursor = m_plot->addGraph();
  m_cursor->setName(
      (overSequence ? tr("this job: %1 tokens") : tr("this layout: %1")).arg(countText(own)));
  m_cursor->setPen(QPen(colors.text, 2, Qt::DashLine));
  m_cursor->setData({m_own, m_own}, {shown.lower, shown.upper});
  showCrossing(*detail);
  m_plot->replotWhenShown();
}

void TrafficView::showCrossing(const LayoutDetail& detail) {
  const QString which =
      detail.trafficLayout == detail.candidate.layout
          ? tr("This layout")
          : tr("The selected layout lacks tp or shards; the fastest with both, %1,")
                .arg(titleOf(detail.trafficLayout));
  const auto crossing = crossingOf(detail.traffic[static_cast<std::size_t>(axis())]);
  const bool overSequence = axis() == TrafficAxis::kSequence;
  if (!crossing) {
    m_words->setText(
        tr("%1 sends less over the same one of tp and dp_shard everywhere on the axis.")
            .arg(which));
    return;
  }
  QCPGraph* mark = m_plot->addGraph();
  mark->setName(tr("crossing"));
  mark->setLineStyle(QCPGraph::lsNone);
  mark->setScatterStyle({QCPScatterStyle::ssCircle, QPen(ink().alarm, 2.5), Qt::NoBrush, 14});
  mark->setData({crossing->place}, {crossing->tpWire / kGiB});
  const QString words =
      overSequence
          ? tr("%1 sends less over tp than over dp_shard below sequences of %2 tokens, and more "
               "above.")
          : tr("%1 sends less over tp than over dp_shard below %2 sequences in a microbatch, and "
               "more above.");
  m_words->setText(words.arg(which, overSequence ? countText(std::llround(crossing->place))
                                                 : QString::number(crossing->place, 'g', 3)));
}

void TrafficView::setMicrobatch(std::int64_t sequences) {
  const planner::Layout& layout = m_workspace.detailing.detail()->trafficLayout;
  if (sequences == layout.microbatch_size) return;
  Inputs inputs = m_workspace.document.inputs();
  inputs[Field::kMicrobatch] = QString::number(sequences);
  // A global batch that is fixed grows as the curves have it: by the microbatch alone.
  if (!inputs[Field::kGlobalBatch].isEmpty()) {
    const std::int64_t others = planner::global_batch_size(layout) / layout.microbatch_size;
    inputs[Field::kGlobalBatch] = QString::number(sequences * others);
  }
  m_workspace.document.setAll(inputs, tr("Set microbatch"));
}

void TrafficView::drag(const QPointF& point) {
  if (axis() == TrafficAxis::kMicrobatch) {
    const double at = std::max(1.0, m_plot->xAxis->pixelToCoord(point.x()));
    m_own = std::exp2(std::round(std::log2(at)));
    const QCPRange y = m_plot->yAxis->range();
    m_cursor->setData({m_own, m_own}, {y.lower, y.upper});
    return m_plot->replotWhenShown();
  }
  const auto tokens = static_cast<std::int64_t>(m_plot->xAxis->pixelToCoord(point.x()));
  const std::int64_t whole = std::max<std::int64_t>(kStep, tokens / kStep * kStep);
  m_workspace.document.set(Field::kSeqLength, QString::number(whole));
}

bool TrafficView::eventFilter(QObject* watched, QEvent* event) {
  if (m_cursor == nullptr) return View::eventFilter(watched, event);
  const auto near = [&](const QPointF& point) {
    return std::abs(m_plot->xAxis->coordToPixel(m_own) - point.x()) < kReach;
  };
  if (event->type() == QEvent::MouseButtonPress) {
    m_drags = near(static_cast<QMouseEvent*>(event)->position());
  } else if (event->type() == QEvent::MouseMove) {
    const QPointF point = static_cast<QMouseEvent*>(event)->position();
    if (m_drags) drag(point);
    m_plot->setCursor(m_drags || near(point) ? Qt::SplitHCursor : Qt::ArrowCursor);
  } else if (event->type() == QEvent::MouseButtonRelease && m_drags) {
    m_drags = false;
    if (axis() == TrafficAxis::kMicrobatch) setMicrobatch(std::llround(m_own));
  }
  return View::eventFilter(watched, event);
}

void TrafficView::drawTo(Canvas& canvas, const QSize& size) {
  m_plot->toPainter(&canvas, size.width(), size.height());
}

}  // namespace meshplan::gui

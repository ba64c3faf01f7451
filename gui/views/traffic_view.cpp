// SPDX-License-Identifier: GPL-3.0-or-later
#include "gui/views/traffic_view.h"

#include <QVBoxLayout>
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
      m_words(new QLabel(this)) {
  m_words->setWordWrap(true);
  auto* all = new QVBoxLayout(this);
  all->setContentsMargins(4, 4, 4, 4);
  all->addWidget(m_plot, 1);
  all->addWidget(m_words);
  m_plot->legend->setVisible(true);
  m_plot->putLegendBeside();
  m_plot->xAxis->setLabel(tr("Sequence length (tokens)"));
  m_plot->yAxis->setLabel(tr("Sent by a rank in a step (GiB)"));
  m_plot->installEventFilter(this);
  m_plot->setMouseTracking(true);
  m_plot->setToolTip(tr("Drag the dashed line to another length of the sequence"));
  connect(&workspace.detailing, &Detailing::detailChanged, this, &TrafficView::rebuild);
  connect(m_plot, &Plot::inkChanged, this, &TrafficView::rebuild);
  rebuild();
}

void TrafficView::addCurves(const LayoutDetail& detail) {
  const auto add = [&](const QString& name, double TrafficPoint::*value, std::size_t category,
                       Qt::PenStyle style) {
    QVector<double> xs;
    QVector<double> ys;
    for (const TrafficPoint& point : detail.traffic) {
      if (point.*value <= 0) continue;
      xs.append(point.sequence);
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
  const auto& detail = m_workspace.detailing.detail();
  const bool shows = detail && !detail->traffic.empty();
  m_plot->showMessage(shows ? "" : tr("No layout is selected"));
  m_words->clear();
  if (!shows) return m_plot->replot(QCustomPlot::rpQueuedReplot);
  addCurves(*detail);
  const Ink colors = ink();
  m_plot->rescaleAxes();
  const QCPRange y = m_plot->yAxis->range();
  const QCPRange x = m_plot->xAxis->range();
  const QCPRange shown(y.lower / 1.5, y.upper * 1.5);
  Plot::useLogarithmicAxis(*m_plot->yAxis, shown);
  Plot::useLogarithmicAxis(*m_plot->xAxis, {x.lower / 1.1, std::min(x.upper * 1.1, 9.9e5)});
  const auto own = static_cast<double>(detail->problem->job.seq_length);
  QCPGraph* cursor = m_plot->addGraph();
  cursor->setName(tr("this job: %1 tokens").arg(countText(detail->problem->job.seq_length)));
  cursor->setPen(QPen(colors.text, 2, Qt::DashLine));
  cursor->setData({own, own}, {shown.lower, shown.upper});
  showCrossing(*detail);
  m_plot->replot(QCustomPlot::rpQueuedReplot);
}

void TrafficView::showCrossing(const LayoutDetail& detail) {
  const QString which =
      detail.trafficLayout == detail.candidate.layout
          ? tr("This layout")
          : tr("The selected layout lacks tp or shards; the fastest with both, %1,")
                .arg(titleOf(detail.trafficLayout));
  const auto crossing = crossingOf(detail.traffic);
  if (!crossing) {
    m_words->setText(tr("%1 sends less over the same one of tp and dp_shard at every length of a "
                        "sequence that is shown.")
                         .arg(which));
    return;
  }
  QCPGraph* mark = m_plot->addGraph();
  mark->setName(tr("crossing"));
  mark->setLineStyle(QCPGraph::lsNone);
  mark->setScatterStyle({QCPScatterStyle::ssCircle, QPen(ink().alarm, 2.5), Qt::NoBrush, 14});
  mark->setData({crossing->sequence}, {crossing->tpWire / kGiB});
  m_words->setText(
      tr("%1 sends less over tp than over dp_shard below sequences of %2 tokens, and more above.")
          .arg(which, countText(std::llround(crossing->sequence))));
}

void TrafficView::drag(const QPointF& point) {
  const auto tokens = static_cast<std::int64_t>(m_plot->xAxis->pixelToCoord(point.x()));
  const std::int64_t whole = std::max<std::int64_t>(kStep, tokens / kStep * kStep);
  m_workspace.document.set(Field::kSeqLength, QString::number(whole));
}

bool TrafficView::eventFilter(QObject* watched, QEvent* event) {
  const auto& detail = m_workspace.detailing.detail();
  if (!detail) return View::eventFilter(watched, event);
  const auto near = [&](const QPointF& point) {
    const double line =
        m_plot->xAxis->coordToPixel(static_cast<double>(detail->problem->job.seq_length));
    return std::abs(line - point.x()) < kReach;
  };
  if (event->type() == QEvent::MouseButtonPress) {
    m_drags = near(static_cast<QMouseEvent*>(event)->position());
  } else if (event->type() == QEvent::MouseMove) {
    const QPointF point = static_cast<QMouseEvent*>(event)->position();
    if (m_drags) drag(point);
    m_plot->setCursor(m_drags || near(point) ? Qt::SplitHCursor : Qt::ArrowCursor);
  } else if (event->type() == QEvent::MouseButtonRelease) {
    m_drags = false;
  }
  return View::eventFilter(watched, event);
}

void TrafficView::drawTo(Canvas& canvas, const QSize& size) {
  m_plot->toPainter(&canvas, size.width(), size.height());
}

}  // namespace meshplan::gui

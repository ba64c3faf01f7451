// SPDX-License-Identifier: GPL-3.0-or-later
#include "gui/views/memory_view.h"

#include <QVBoxLayout>
#include <algorithm>
#include <numeric>

#include "gui/models/colors.h"
#include "gui/models/memory_bars.h"

namespace meshplan::gui {

MemoryView::MemoryView(Workspace& workspace, QWidget* parent)
    : View(parent), m_workspace(workspace), m_plot(new Plot(tr("Memory by class"), this)) {
  auto* all = new QVBoxLayout(this);
  all->setContentsMargins(4, 4, 4, 4);
  all->addWidget(m_plot);
  m_plot->putLegendBeside();
  m_plot->xAxis->setTickLabelRotation(18);
  connect(&workspace.detailing, &Detailing::detailChanged, this, &MemoryView::rebuild);
  connect(m_plot, &Plot::inkChanged, this, &MemoryView::rebuild);
  rebuild();
}

void MemoryView::rebuild() {
  m_plot->clearPlottables();
  const auto& detail = m_workspace.detailing.detail();
  m_plot->legend->setVisible(detail != nullptr);
  m_plot->showMessage(detail ? "" : tr("No layout is selected"));
  if (!detail) return m_plot->replotWhenShown();
  const MemoryBars bars = memoryBarsOf(*detail);
  const Ink colors = ink();
  QVector<double> places(bars.names.size());
  std::iota(places.begin(), places.end(), 0.0);
  QCPBars* below = nullptr;
  for (std::size_t c = 0; c < kBarClasses; ++c) {
    const QVector<double>& heights = bars.classes[c];
    if (std::all_of(heights.begin(), heights.end(), [](double height) { return height == 0; }))
      continue;
    auto* bar = new QCPBars(m_plot->xAxis, m_plot->yAxis);
    bar->setName(nameOfBarClass(c));
    bar->setBrush(Plot::fill(c));
    bar->setPen(Qt::NoPen);
    bar->setWidth(0.7);
    bar->setData(places, heights, true);
    if (below != nullptr) bar->moveAbove(below);
    below = bar;
  }
  QCPGraph* limit = m_plot->addGraph();
  limit->setName(tr("memory of the device"));
  limit->setPen(QPen(colors.alarm, 2, Qt::DashLine));
  limit->setData({-1, places.last() + 1}, {bars.capacity, bars.capacity}, true);
  QSharedPointer<QCPAxisTickerText> ticks(new QCPAxisTickerText);
  for (qsizetype i = 0; i < bars.names.size(); ++i) ticks->addTick(places[i], bars.names[i]);
  m_plot->xAxis->setTicker(ticks);
  m_plot->xAxis->grid()->setVisible(false);
  m_plot->xAxis->setRange(-0.6, places.last() + 0.6);
  m_plot->yAxis->setLabel(tr("Memory at the peak (GiB)"));
  const double highest = *std::max_element(bars.totals.begin(), bars.totals.end());
  // Neighbours may need many times what there is; their bars go out of the picture.
  constexpr double kShown = 2;
  m_plot->yAxis->setRange(0, 1.08 * std::clamp(highest, bars.capacity, kShown * bars.capacity));
  m_plot->replotWhenShown();
}

void MemoryView::drawTo(Canvas& canvas, const QSize& size) {
  m_plot->toPainter(&canvas, size.width(), size.height());
}

}  // namespace meshplan::gui

// SPDX-License-Identifier: GPL-3.0-or-later
#include "gui/export/report.h"

#include "common/text.h"
#include "gui/models/colors.h"
#include "gui/models/comparison_table.h"
#include "gui/models/quantities.h"
#include "gui/views/memory_view.h"
#include "gui/views/mesh_view.h"
#include "gui/views/timeline_view.h"
#include "gui/views/tradeoff_view.h"
#include "planner/model/parameter_table.h"

namespace meshplan::gui {
namespace {

constexpr int kGap = 10;
constexpr int kHead = 58;

QString questionOf(const Problem& problem) {
  const planner::ClusterSpec& cluster = problem.cluster;
  return QObject::tr("%1 (%2 parameters) on %3 × %4 %5, sequences of %6 tokens in %7")
      .arg(QString::fromStdString(problem.model.name),
           QString::fromStdString(
               common::human_count(static_cast<double>(planner::parameter_count(problem.model)))))
      .arg(cluster.nodes)
      .arg(cluster.devices_per_node)
      .arg(QString::fromStdString(cluster.device.name), countText(problem.job.seq_length),
           common::to_string(problem.job.param_dtype));
}

void drawHead(Canvas& canvas, const LayoutDetail& detail, int width) {
  QFont font = canvas.font();
  font.setPointSizeF(15);
  font.setBold(true);
  canvas.setFont(font);
  canvas.setPen(ink().text);
  canvas.drawText(QRect(0, 0, width, 26), Qt::AlignLeft | Qt::AlignVCenter,
                  titleOf(detail.candidate.layout));
  font.setPointSizeF(9);
  font.setBold(false);
  canvas.setFont(font);
  canvas.drawText(QRect(0, 26, width, 30), Qt::AlignLeft | Qt::AlignTop,
                  questionOf(*detail.problem) + "\n" + choicesOf(detail.candidate.layout));
}

void drawFacts(Canvas& canvas, const LayoutDetail& detail, const QRect& area) {
  QFont font = canvas.font();
  font.setPointSizeF(8);
  canvas.setFont(font);
  int y = area.top();
  const int line = canvas.fontMetrics().height() + 2;
  for (const Fact& fact : factsOf(detail.candidate)) {
    // The head says them already.
    if (fact.name == QObject::tr("Mesh") || fact.name == QObject::tr("Choices")) continue;
    if (y + line > area.bottom()) return;
    const QRect row(area.left(), y, area.width(), line);
    canvas.setPen(ink().faint);
    canvas.drawText(row, Qt::AlignLeft | Qt::AlignVCenter, fact.name);
    canvas.setPen(ink().text);
    canvas.drawText(row, Qt::AlignRight | Qt::AlignVCenter, fact.text);
    y += line;
  }
}

template <class Shown>
void drawView(Workspace& workspace, Canvas& canvas, const QRect& area) {
  Shown view(workspace);
  view.resize(area.size());
  canvas.save();
  canvas.translate(area.topLeft());
  view.drawTo(canvas, area.size());
  canvas.restore();
  canvas.setPen(QPen(ink().line, 1));
  canvas.setBrush(Qt::NoBrush);
  canvas.drawRect(area);
}

}  // namespace

void drawReport(Workspace& workspace, Canvas& canvas, const QSize& size) {
  const LayoutDetail& detail = *workspace.detailing.detail();
  canvas.fillRect(QRect(QPoint(), size), ink().ground);
  drawHead(canvas, detail, size.width());
  const int facts = size.width() * 27 / 100;
  const int views = (size.width() - facts - 3 * kGap) / 2;
  const int upper = (size.height() - kHead - kGap) * 54 / 100;
  const int lower = size.height() - kHead - kGap - upper;
  const int left = facts + kGap;
  drawFacts(canvas, detail, {0, kHead, facts, upper});
  drawView<TradeoffView>(workspace, canvas, {left, kHead, views, upper});
  drawView<MeshView>(workspace, canvas, {left + views + kGap, kHead, views, upper});
  const int below = kHead + upper + kGap;
  const int memory = size.width() * 45 / 100;
  drawView<MemoryView>(workspace, canvas, {0, below, memory, lower - 2});
  drawView<TimelineView>(workspace, canvas,
                         {memory + kGap, below, size.width() - memory - 2 * kGap, lower - 2});
}

}  // namespace meshplan::gui

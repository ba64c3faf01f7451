// SPDX-License-Identifier: GPL-3.0-or-later
#include "gui/views/help_text.h"

#include <QDialog>
#include <QTextBrowser>
#include <QVBoxLayout>

#include "gui/models/fields.h"
#include "gui/models/quantities.h"

namespace meshplan::gui {
namespace {

constexpr const char* kViews =
    "<h2>Views</h2>"
    "<p><b>Trade-off</b>: every layout a point. Click selects, Ctrl and click compares, the wheel "
    "zooms, dragging pans, with Shift it marks an area that the table is narrowed to, a double "
    "click shows "
    "all. The line joins layouts that no other beats in "
    "both time and memory.</p>"
    "<p><b>Mesh</b>: every rank a cell, nodes framed. Hovering or selecting a rank lights its "
    "groups: tp solid, dp_shard dashed, dp_replicate dash-dotted. Arrow keys move, + and - zoom, "
    "Home shows all.</p>"
    "<p><b>Layouts</b>: a table to sort, filter and copy; a right click compares.</p>"
    "<p><b>Memory</b>: the peak by class, of this layout and of those beside it.</p>"
    "<p><b>TP against FSDP</b>: what both send as the sequence grows. Drag the dashed line.</p>"
    "<p><b>Timeline</b>: the simulated step. The wheel zooms, dragging pans, Home shows all.</p>"
    "<p><b>Why this layout</b>: what a step's time goes into, and the figures of two layouts.</p>"
    "<p><b>Run</b>: trains the selected layout here, or shows a run's folder, beside what was "
    "predicted.</p>";

QString helpHtml() {
  QString html = kViews;
  html += "<h2>Inputs</h2><table cellpadding='4'>";
  const auto row = [&](const char* label, const char* help) {
    html += QString("<tr><td><b>%1</b></td><td>%2</td></tr>").arg(label, help);
  };
  for (const FieldInfo& info : allFields()) row(info.label, info.help);
  html += "</table><h2>Figures</h2><table cellpadding='4'>";
  for (const QuantityInfo& info : allQuantities()) row(info.label, info.help);
  return html + "</table>";
}

}  // namespace

void showHelp(QWidget& parent) {
  auto* dialog = new QDialog(&parent);
  dialog->setAttribute(Qt::WA_DeleteOnClose);
  dialog->setWindowTitle(QObject::tr("Help"));
  dialog->resize(720, 640);
  auto* text = new QTextBrowser(dialog);
  text->setHtml(helpHtml());
  auto* all = new QVBoxLayout(dialog);
  all->addWidget(text);
  dialog->show();
}

}  // namespace meshplan::gui

// SPDX-License-Identifier: GPL-3.0-or-later
#include "gui/views/timeline_view.h"

#include <QHBoxLayout>
#include <QPushButton>
#include <QScrollBar>

namespace meshplan::gui {
TimelineView::TimelineView(Workspace& workspace, QWidget* parent)
    : View(parent),
      m_workspace(workspace),
      m_canvas(new TimelineCanvas(this)),
      m_search(new QLineEdit(this)),
      m_path(new QCheckBox(tr("Critical path"), this)),
      m_slice(new QLabel(this)) {
  m_search->setPlaceholderText(tr("Find a kernel, collective or instruction"));
  m_search->setAccessibleName(tr("Find in the timeline"));
  m_search->setClearButtonEnabled(true);
  m_search->setMaximumWidth(320);
  auto* next = new QPushButton(tr("Find next"), this);
  auto* whole = new QPushButton(tr("Whole step"), this);
  auto* bar = new QHBoxLayout;
  bar->addWidget(m_search);
  bar->addWidget(next);
  bar->addStretch();
  bar->addWidget(m_path);
  bar->addWidget(whole);
  m_path->setChecked(true);
  m_path->setToolTip(
      tr("The chain of work, each begun by the end of the one before it, from the step's start to "
         "its end: only shortening what is on it shortens the step"));
  m_slice->setWordWrap(true);
  auto* all = new QVBoxLayout(this);
  all->setContentsMargins(4, 4, 4, 4);
  all->addLayout(bar);
  auto* tracks = new QScrollBar(Qt::Vertical, this);
  tracks->setAccessibleName(tr("Tracks that are shown"));
  auto* drawn = new QHBoxLayout;
  drawn->setSpacing(0);
  drawn->addWidget(m_canvas, 1);
  drawn->addWidget(tracks);
  all->addLayout(drawn, 1);
  all->addWidget(m_slice);
  connect(next, &QPushButton::clicked, this, &TimelineView::find);
  connect(m_search, &QLineEdit::returnPressed, this, &TimelineView::find);
  connect(m_path, &QCheckBox::toggled, m_canvas, &TimelineCanvas::showPath);
  connect(whole, &QPushButton::clicked, m_canvas, &TimelineCanvas::fit);
  connect(tracks, &QScrollBar::valueChanged, m_canvas, &TimelineCanvas::scrollTo);
  connect(m_canvas, &TimelineCanvas::tracksShown, tracks,
          [tracks](int first, int shown, int count) {
            const QSignalBlocker quiet(tracks);
            tracks->setRange(0, count - shown);
            tracks->setPageStep(shown);
            tracks->setValue(first);
            tracks->setVisible(shown < count);
          });
  connect(m_canvas, &TimelineCanvas::described, m_slice, &QLabel::setText);
  connect(&workspace.detailing, &Detailing::detailChanged, this, &TimelineView::rebuild);
  connect(&workspace.run, &TrainingRun::traceChanged, this, &TimelineView::rebuild);
  rebuild();
}

void TimelineView::find() {
  if (!m_canvas->findNext(m_search->text()))
    m_slice->setText(tr("Nothing in this step is called '%1'").arg(m_search->text()));
}

void TimelineView::rebuild() {
  const auto& detail = m_workspace.detailing.detail();
  m_canvas->setMessage(detail ? detail->simulationFailure : tr("No layout is selected"));
  Timeline timeline = detail ? detail->timeline : Timeline{};
  if (const auto& trace = m_workspace.run.trace()) addMeasured(timeline, *trace);
  m_canvas->setTimeline(std::move(timeline));
  m_slice->clear();
}

void TimelineView::drawTo(Canvas& canvas, const QSize& size) { m_canvas->draw(canvas, size); }

}  // namespace meshplan::gui

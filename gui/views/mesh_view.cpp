// SPDX-License-Identifier: GPL-3.0-or-later
#include "gui/views/mesh_view.h"

#include <QHBoxLayout>
#include <QPushButton>
#include <QTimer>
#include <algorithm>

#include "gui/models/quantities.h"

namespace meshplan::gui {

MeshView::MeshView(Workspace& workspace, QWidget* parent)
    : View(parent),
      m_workspace(workspace),
      m_canvas(new MeshCanvas(workspace, this)),
      m_color(new QComboBox(this)),
      m_facts(new QLabel(this)) {
  m_color->setAccessibleName(tr("Colour of ranks"));
  for (int i = 0; i < kMeshColors; ++i) m_color->addItem(nameOf(static_cast<MeshColor>(i)));
  m_color->setCurrentIndex(static_cast<int>(m_canvas->color()));
  auto* whole = new QPushButton(tr("Show all"), this);
  whole->setToolTip(tr("The whole mesh (Home)"));
  auto* bar = new QHBoxLayout;
  bar->addWidget(new QLabel(tr("Colour by")));
  bar->addWidget(m_color);
  bar->addStretch();
  bar->addWidget(whole);
  m_facts->setObjectName("facts");
  m_facts->setTextFormat(Qt::RichText);
  m_facts->setWordWrap(true);
  m_facts->setAlignment(Qt::AlignTop | Qt::AlignLeft);
  m_facts->setTextInteractionFlags(Qt::TextSelectableByMouse);
  auto* all = new QVBoxLayout(this);
  all->setContentsMargins(4, 4, 4, 4);
  all->addLayout(bar);
  all->addWidget(m_canvas, 1);
  all->addWidget(m_facts);
  connect(whole, &QPushButton::clicked, m_canvas, &MeshCanvas::fit);
  connect(m_color, &QComboBox::currentIndexChanged, this,
          [this](int index) { m_canvas->setColor(static_cast<MeshColor>(index)); });
  const auto showSelected = [this] { showFacts(m_workspace.selection.rank()); };
  connect(m_canvas, &MeshCanvas::hovered, this, [this](std::int64_t rank) {
    showFacts(rank == kNoRank ? m_workspace.selection.rank() : rank);
  });
  connect(&workspace.selection, &Selection::rankChanged, this, showSelected);
  connect(&workspace.detailing, &Detailing::detailChanged, this, showSelected);
}

void MeshView::showFacts(std::int64_t rank) {
  const auto& detail = m_workspace.detailing.detail();
  if (!detail || rank >= planner::world_size(detail->candidate.layout.mesh)) {
    m_facts->setText(m_workspace.detailing.failure().toHtmlEscaped());
    return;
  }
  QString text = "<b>" + placeText(detail->candidate.layout.mesh, rank) + "</b>";
  if (const QString stage = stageText(*detail, rank); !stage.isEmpty()) text += "<br>" + stage;
  for (const RankGroup& group : groupsOf(*detail, rank)) {
    text += tr("<br>%1 group: %2 ranks over %3, sends %4 a step, waits %5")
                .arg(to_string(group.axis))
                .arg(group.members.size())
                .arg(group.link, textOf(group.wireBytes), textOf(group.exposed));
  }
  m_facts->setText(text);
  fitFacts();
}

void MeshView::fitFacts() {
  const int least = fontMetrics().height() * 5;
  m_facts->setMinimumHeight(std::max(least, m_facts->heightForWidth(m_facts->width())));
}

void MeshView::resizeEvent(QResizeEvent* event) {
  View::resizeEvent(event);
  // The label has its new width once the layout has been done.
  QTimer::singleShot(0, this, &MeshView::fitFacts);
}

void MeshView::drawTo(Canvas& canvas, const QSize& size) { m_canvas->draw(canvas, size); }

}  // namespace meshplan::gui

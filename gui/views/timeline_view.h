// SPDX-License-Identifier: GPL-3.0-or-later
#pragma once

#include <QCheckBox>
#include <QLabel>
#include <QLineEdit>

#include "gui/models/workspace.h"
#include "gui/views/timeline_canvas.h"
#include "gui/views/view.h"

namespace meshplan::gui {

/// The simulated step of the selected layout, with a search, a legend and its critical path in
/// words.
class TimelineView : public View {
  Q_OBJECT

 public:
  explicit TimelineView(Workspace& workspace, QWidget* parent = nullptr);

  void drawTo(Canvas& canvas, const QSize& size) override;
  TimelineCanvas& canvas() { return *m_canvas; }

 private:
  void rebuild();
  void find();

  Workspace& m_workspace;
  TimelineCanvas* m_canvas;
  QLineEdit* m_search;
  QCheckBox* m_path;
  QLabel* m_slice;
};

}  // namespace meshplan::gui

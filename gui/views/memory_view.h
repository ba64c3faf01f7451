// SPDX-License-Identifier: GPL-3.0-or-later
#pragma once

#include "gui/models/workspace.h"
#include "gui/views/view.h"

namespace meshplan::gui {

/// The peak of the selected layout and of its neighbours by class, against the device's memory.
class MemoryView : public View {
  Q_OBJECT

 public:
  explicit MemoryView(Workspace& workspace, QWidget* parent = nullptr);

  void drawTo(Canvas& canvas, const QSize& size) override;
  Plot& plot() { return *m_plot; }

 private:
  void rebuild();

  Workspace& m_workspace;
  Plot* m_plot;
};

}  // namespace meshplan::gui

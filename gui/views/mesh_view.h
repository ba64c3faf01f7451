// SPDX-License-Identifier: GPL-3.0-or-later
#pragma once

#include <QComboBox>
#include <QLabel>

#include "gui/views/mesh_canvas.h"
#include "gui/views/view.h"

namespace meshplan::gui {

/// The mesh, and what is known of the rank under the mouse or else the selected one.
class MeshView : public View {
  Q_OBJECT

 public:
  explicit MeshView(Workspace& workspace, QWidget* parent = nullptr);

  void drawTo(Canvas& canvas, const QSize& size) override;
  MeshCanvas& canvas() { return *m_canvas; }

 private:
  void resizeEvent(QResizeEvent* event) override;
  void showFacts(std::int64_t rank);
  /// Room for all lines of the facts at this width.
  void fitFacts();

  Workspace& m_workspace;
  MeshCanvas* m_canvas;
  QComboBox* m_color;
  QLabel* m_facts;
};

}  // namespace meshplan::gui

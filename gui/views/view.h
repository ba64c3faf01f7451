// SPDX-License-Identifier: GPL-3.0-or-later
#pragma once

#include <QWidget>

#include "gui/views/plot.h"

namespace meshplan::gui {

/// One picture of the workspace. It draws what the models worked out.
class View : public QWidget {
  Q_OBJECT

 public:
  using QWidget::QWidget;

  /// The picture without its controls, from (0, 0) to `size`.
  virtual void drawTo(Canvas& canvas, const QSize& size) = 0;
};

}  // namespace meshplan::gui

// SPDX-License-Identifier: GPL-3.0-or-later
#pragma once

// QCustomPlot's header uses Qt's keywords, which nothing else here does.
#define signals Q_SIGNALS
#define slots Q_SLOTS
#define foreach Q_FOREACH
#include <qcustomplot.h>
#undef signals
#undef slots
#undef foreach

namespace meshplan::gui {

/// What views draw on, pixels or vectors.
using Canvas = QCPPainter;

/// A plot in the colours of the palette.
class Plot : public QCustomPlot {
  Q_OBJECT

 public:
  explicit Plot(const QString& accessibleName, QWidget* parent = nullptr);

  /// Whether both ends of the range are above 0, so that ratios can be drawn as distances; sets the
  /// scale and ticks that suit the range.
  static void useLogarithmicAxis(QCPAxis& axis, const QCPRange& range);
  /// The legend stands right of the axes, and hides nothing.
  void putLegendBeside();
  /// A shape for each category, as a second cue beside its colour.
  static QCPScatterStyle marker(std::size_t category, const QColor& color, double size);
  /// A brush for each class, dotted from the sixth on.
  static QBrush fill(std::size_t category);
  /// Writes a text in the middle where there is nothing to draw; "" takes it away.
  void showMessage(const QString& text);
  /// Draws once the events that wait are handled; what no one sees, once it is seen.
  void replotWhenShown();

 Q_SIGNALS:
  /// Colours have to be chosen again.
  void inkChanged();

 protected:
  void changeEvent(QEvent* event) override;
  void showEvent(QShowEvent* event) override;

 private:
  void applyInk();

  QCPItemText* m_message;
  bool m_isOutOfDate = false;
};

}  // namespace meshplan::gui

// SPDX-License-Identifier: GPL-3.0-or-later
#pragma once

#include <QWidget>
#include <optional>

#include "gui/models/timeline_tracks.h"

namespace meshplan::gui {

/// A step's streams as tracks over time, and memory beneath. The wheel and + - zoom, dragging and
/// the arrow keys pan, Home shows all, a click selects a slice; where there are more tracks than
/// room, Shift and the wheel, Page Up and Page Down go through them.
class TimelineCanvas : public QWidget {
  Q_OBJECT

 public:
  explicit TimelineCanvas(QWidget* parent = nullptr);

  void setTimeline(Timeline timeline);
  const Timeline& timeline() const { return m_timeline; }
  /// What is written where there is no timeline.
  void setMessage(const QString& message);
  /// Whether the critical path is drawn.
  void showPath(bool shows);
  void fit();
  void zoomAt(double x, double factor);
  /// Shows the next slice that matches, and selects it; false where there is none.
  bool findNext(const QString& text);
  /// Makes this track the first that is shown, as far as the others then fill the room.
  void scrollTo(int track);
  int firstShown() const { return static_cast<int>(m_first); }
  const std::optional<SlicePlace>& selected() const { return m_selected; }
  void draw(QPainter& painter, const QSize& size);

  QSize sizeHint() const override;

 Q_SIGNALS:
  /// What is to be said of the slice under the mouse, or of the selected one; may be empty.
  void described(const QString& text);
  /// Of so many tracks, that many from `first` on are shown.
  void tracksShown(int first, int shown, int all);

 protected:
  void paintEvent(QPaintEvent* event) override;
  void mousePressEvent(QMouseEvent* event) override;
  void mouseMoveEvent(QMouseEvent* event) override;
  void mouseReleaseEvent(QMouseEvent* event) override;
  void wheelEvent(QWheelEvent* event) override;
  void keyPressEvent(QKeyEvent* event) override;
  void resizeEvent(QResizeEvent* event) override;

 private:
  /// The part of the step that is shown, in picoseconds.
  struct Span {
    double begin = 0;
    double end = 1;
  };
  void show(Span span);
  void paintAll(QPainter& painter, const QSize& size);
  void paintAxis(QPainter& painter, const QRectF& area);
  void paintTrack(QPainter& painter, std::size_t track, const QRectF& area);
  /// `first`: the first shown track with the gap beneath it.
  void paintPath(QPainter& painter, const QRectF& first);
  void paintLegend(QPainter& painter, double top);
  void paintMemory(QPainter& painter, const QRectF& area);
  double trackHeight(double height) const;
  std::size_t shownTracks(double height) const;
  double left() const;
  double timeAt(double x) const;
  std::optional<SlicePlace> sliceAtPoint(const QPointF& point) const;
  QString textOfSlice(const SlicePlace& place) const;

  Timeline m_timeline;
  QString m_message;
  Span m_shown;
  /// The first track that is shown.
  std::size_t m_first = 0;
  std::optional<SlicePlace> m_selected;
  bool m_showsPath = true;
  double m_width = 1;
  double m_height = 1;
  QPointF m_pressedAt;
  Span m_shownAtPress;
};

}  // namespace meshplan::gui

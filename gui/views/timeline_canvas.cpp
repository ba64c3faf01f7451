// SPDX-License-Identifier: GPL-3.0-or-later
#include "gui/views/timeline_canvas.h"

#include <QKeyEvent>
#include <QPainter>
#include <algorithm>
#include <cmath>

#include "gui/models/colors.h"
#include "gui/models/quantities.h"

namespace meshplan::gui {
namespace {

constexpr double kAxisHeight = 24;
constexpr double kLegendHeight = 22;
constexpr double kTrackGap = 4;
constexpr double kHighestTrack = 34;
/// A title is legible in it.
constexpr double kLowestTrack = 17;
constexpr double kMemoryPart = 0.28;
constexpr double kDragged = 4;
/// Of the line that is the critical path, under the slices that it passes through.
constexpr double kPathWidth = 3;
/// Slices of so many pixels have their name written.
constexpr double kWritten = 48;
/// The least that is shown at once, in picoseconds.
constexpr double kShortest = 1e4;

QString timeText(double picoseconds) { return textOf(common::Seconds(picoseconds * 1e-12)); }

/// 1, 2 or 5 times a power of ten, so that about `wanted` of them make up `length`.
double tickStep(double length, double wanted) {
  const double rough = length / std::max(1.0, wanted);
  const double power = std::pow(10, std::floor(std::log10(rough)));
  for (const double factor : {1.0, 2.0, 5.0}) {
    if (factor * power >= rough) return factor * power;
  }
  return 10 * power;
}

double roomForTracks(double height) {
  return (height - kAxisHeight - kLegendHeight) * (1 - kMemoryPart);
}

QBrush brushOf(SliceKind kind) {
  const QColor color = categoryColor(static_cast<std::size_t>(kind));
  const bool collective =
      kind == SliceKind::kTp || kind == SliceKind::kGather || kind == SliceKind::kReduce;
  return collective ? QBrush(color, Qt::Dense3Pattern) : QBrush(color);
}

}  // namespace

TimelineCanvas::TimelineCanvas(QWidget* parent) : QWidget(parent) {
  setAccessibleName(tr("Timeline of a step"));
  setFocusPolicy(Qt::StrongFocus);
  setMouseTracking(true);
}

QSize TimelineCanvas::sizeHint() const { return {640, 260}; }

void TimelineCanvas::setTimeline(Timeline timeline) {
  m_timeline = std::move(timeline);
  m_selected.reset();
  m_first = 0;
  fit();
  scrollTo(0);
}

void TimelineCanvas::setMessage(const QString& message) {
  m_message = message;
  update();
}

void TimelineCanvas::showPath(bool shows) {
  m_showsPath = shows;
  update();
}

void TimelineCanvas::fit() { show({0, static_cast<double>(m_timeline.end)}); }

void TimelineCanvas::show(Span span) {
  const double all = std::max(kShortest, static_cast<double>(m_timeline.end));
  const double length = std::clamp(span.end - span.begin, kShortest, all);
  const double begin = std::clamp(span.begin, 0.0, all - length);
  m_shown = {begin, begin + length};
  update();
}

void TimelineCanvas::zoomAt(double x, double factor) {
  const double held = timeAt(x);
  show({held - (held - m_shown.begin) / factor, held + (m_shown.end - held) / factor});
}

void TimelineCanvas::scrollTo(int track) {
  const std::size_t shown = shownTracks(height());
  const std::size_t most = m_timeline.tracks.size() - shown;
  m_first = std::min(most, static_cast<std::size_t>(std::max(0, track)));
  Q_EMIT tracksShown(static_cast<int>(m_first), static_cast<int>(shown),
                     static_cast<int>(m_timeline.tracks.size()));
  update();
}

bool TimelineCanvas::findNext(const QString& text) {
  const auto found = findSlice(m_timeline, text, m_selected);
  if (!found) return false;
  m_selected = found;
  const TrackSlice& slice = m_timeline.tracks[found->track].slices[found->slice];
  const double length = m_shown.end - m_shown.begin;
  const double middle = 0.5 * static_cast<double>(slice.start + slice.end);
  if (middle < m_shown.begin || middle > m_shown.end)
    show({middle - length / 2, middle + length / 2});
  if (found->track < m_first || found->track >= m_first + shownTracks(height()))
    scrollTo(static_cast<int>(found->track));
  Q_EMIT described(textOfSlice(*found));
  update();
  return true;
}

double TimelineCanvas::left() const {
  int widest = fontMetrics().horizontalAdvance(tr("memory"));
  for (const Track& track : m_timeline.tracks)
    widest = std::max(widest, fontMetrics().horizontalAdvance(track.title));
  return widest + 12;
}

double TimelineCanvas::timeAt(double x) const {
  return m_shown.begin +
         (x - left()) / std::max(1.0, m_width - left()) * (m_shown.end - m_shown.begin);
}

double TimelineCanvas::trackHeight(double height) const {
  const auto tracks = static_cast<double>(std::max<std::size_t>(1, m_timeline.tracks.size()));
  return std::clamp(roomForTracks(height) / tracks, kLowestTrack, kHighestTrack);
}

std::size_t TimelineCanvas::shownTracks(double height) const {
  const auto fitting = static_cast<std::size_t>(
      std::max(1.0, std::floor(roomForTracks(height) / trackHeight(height) + 1e-6)));
  return std::min(fitting, m_timeline.tracks.size());
}

void TimelineCanvas::paintAxis(QPainter& painter, const QRectF& area) {
  const Ink colors = ink();
  const double step = tickStep(m_shown.end - m_shown.begin, area.width() / 110);
  for (double time = std::ceil(m_shown.begin / step) * step; time < m_shown.end; time += step) {
    const double x =
        area.left() + (time - m_shown.begin) / (m_shown.end - m_shown.begin) * area.width();
    painter.setPen(QPen(colors.line, 0, Qt::DotLine));
    painter.drawLine(QPointF(x, area.top() + kAxisHeight - 4), QPointF(x, area.bottom()));
    const QString label = timeText(time);
    if (x + 3 + fontMetrics().horizontalAdvance(label) > area.right()) continue;
    painter.setPen(colors.text);
    painter.drawText(QRectF(x + 3, area.top(), 120, kAxisHeight), Qt::AlignVCenter | Qt::AlignLeft,
                     label);
  }
}

void TimelineCanvas::paintTrack(QPainter& painter, std::size_t index, const QRectF& area) {
  const Track& track = m_timeline.tracks[index];
  const Ink colors = ink();
  painter.setPen(colors.text);
  painter.drawText(QRectF(4, area.top(), area.left() - 8, area.height()),
                   Qt::AlignVCenter | Qt::AlignRight, track.title);
  const double perPixel = (m_shown.end - m_shown.begin) / std::max(1.0, area.width());
  const auto xOf = [&](std::int64_t time) {
    return area.left() + (static_cast<double>(time) - m_shown.begin) / perPixel;
  };
  painter.save();
  painter.setClipRect(area);
  forEachShown(
      track.slices, static_cast<std::int64_t>(m_shown.begin),
      static_cast<std::int64_t>(m_shown.end), perPixel, [&](const TrackSlice& slice, bool narrow) {
        const double from = std::max(xOf(slice.start), area.left() - 2);
        const double to = std::min(xOf(slice.end), area.right() + 2);
        const QRectF box(from, area.top(), std::max(1.0, to - from), area.height());
        if (narrow)
          return painter.fillRect(box, categoryColor(static_cast<std::size_t>(slice.kind)));
        painter.fillRect(box.adjusted(0, 0, box.width() > 4 ? -0.6 : 0, 0), brushOf(slice.kind));
        if (box.width() < kWritten || area.height() < fontMetrics().height()) return;
        const QColor ground = categoryColor(static_cast<std::size_t>(slice.kind));
        const QString name = QString::fromStdString(track.names[slice.name]);
        painter.setPen(textOn(ground));
        painter.drawText(
            box.adjusted(4, 0, -4, 0), Qt::AlignVCenter | Qt::AlignLeft,
            fontMetrics().elidedText(name, Qt::ElideRight, static_cast<int>(box.width()) - 8));
      });
  if (m_selected && m_selected->track == index) {
    const TrackSlice& slice = track.slices[m_selected->slice];
    painter.setPen(QPen(colors.accent, 2));
    painter.setBrush(Qt::NoBrush);
    painter.drawRect(QRectF(xOf(slice.start), area.top() + 1,
                            std::max(2.0, xOf(slice.end) - xOf(slice.start)), area.height() - 2));
  }
  painter.restore();
}

void TimelineCanvas::paintPath(QPainter& painter, const QRectF& first) {
  const double perPixel = (m_shown.end - m_shown.begin) / std::max(1.0, first.width());
  const auto from = static_cast<std::int64_t>(m_shown.begin);
  const auto to = static_cast<std::int64_t>(m_shown.end);
  const auto xOf = [&](std::int64_t time) {
    return first.left() + (static_cast<double>(time) - m_shown.begin) / perPixel;
  };
  const auto yOf = [&](std::size_t track) {
    const double row = static_cast<double>(track) - static_cast<double>(m_first);
    return first.top() + (row + 1) * first.height() - kTrackGap;
  };
  painter.save();
  const auto shown = static_cast<double>(shownTracks(m_height));
  painter.setClipRect(QRectF(first.left(), first.top(), first.width(), shown * first.height()));
  const QColor color = ink().accent;
  for (std::size_t track = 0; track < m_timeline.tracks.size(); ++track) {
    forEachShown(
        m_timeline.tracks[track].critical, from, to, perPixel, [&](const TrackSlice& part, bool) {
          const double begin = std::max(xOf(part.start), first.left() - 2);
          const double end = std::min(xOf(part.end), first.right() + 2);
          painter.fillRect(
              QRectF(begin, yOf(track) - kPathWidth / 2, std::max(1.0, end - begin), kPathWidth),
              color);
        });
  }
  painter.setPen(QPen(color, 1));
  const auto& handovers = m_timeline.handovers;
  const auto at = [&](std::int64_t time) {
    return std::partition_point(handovers.begin(), handovers.end(),
                                [time](const Handover& handover) { return handover.time < time; });
  };
  // One for each pixel, as more of them could not be told apart.
  const auto pixel = std::max<std::int64_t>(1, static_cast<std::int64_t>(perPixel));
  for (auto next = at(from); next != handovers.end() && next->time < to;
       next = at(next->time + pixel)) {
    const double x = xOf(next->time);
    painter.drawLine(QPointF(x, yOf(next->from)), QPointF(x, yOf(next->to)));
  }
  painter.restore();
}

void TimelineCanvas::paintLegend(QPainter& painter, double top) {
  double x = 8;
  const double side = fontMetrics().height() * 0.7;
  for (std::size_t i = 0; i < kSliceKinds; ++i) {
    if (!m_timeline.shows[i]) continue;
    const auto kind = static_cast<SliceKind>(i);
    painter.fillRect(QRectF(x, top + (kLegendHeight - side) / 2, side, side), brushOf(kind));
    painter.setPen(ink().text);
    painter.drawText(QPointF(x + side + 5, top + kLegendHeight / 2 + side / 2), nameOf(kind));
    x += side + 5 + fontMetrics().horizontalAdvance(nameOf(kind)) + 18;
  }
  if (!m_showsPath || m_timeline.handovers.empty()) return;
  painter.fillRect(QRectF(x, top + (kLegendHeight - kPathWidth) / 2, 2 * side, kPathWidth),
                   ink().accent);
  painter.setPen(ink().text);
  painter.drawText(QPointF(x + 2 * side + 5, top + kLegendHeight / 2 + side / 2),
                   tr("critical path"));
}

void TimelineCanvas::paintMemory(QPainter& painter, const QRectF& area) {
  if (m_timeline.memory.empty() || area.height() < 12) return;
  const Ink colors = ink();
  painter.setPen(colors.text);
  painter.drawText(QRectF(4, area.top(), area.left() - 8, area.height()),
                   Qt::AlignVCenter | Qt::AlignRight | Qt::TextWordWrap,
                   tr("memory,\nat most %1").arg(textOf(common::Bytes(m_timeline.peak))));
  const auto most =
      memoryByPixel(m_timeline, static_cast<std::int64_t>(m_shown.begin),
                    static_cast<std::int64_t>(m_shown.end), static_cast<int>(area.width()));
  QPolygonF outline;
  outline.append(area.bottomLeft());
  for (std::size_t x = 0; x < most.size(); ++x) {
    const double part = static_cast<double>(most[x]) / static_cast<double>(m_timeline.peak);
    outline.append({area.left() + static_cast<double>(x), area.bottom() - part * area.height()});
  }
  outline.append({area.left() + static_cast<double>(most.size()), area.bottom()});
  QColor inside = categoryColor(0);
  inside.setAlpha(90);
  painter.setBrush(inside);
  painter.setPen(QPen(categoryColor(0), 1));
  painter.drawPolygon(outline);
}

void TimelineCanvas::paintAll(QPainter& painter, const QSize& size) {
  m_width = size.width();
  m_height = size.height();
  painter.fillRect(QRectF(QPointF(), QSizeF(size)), ink().ground);
  painter.setFont(font());
  if (m_timeline.tracks.empty()) {
    painter.setPen(ink().faint);
    painter.drawText(QRectF(QPointF(), QSizeF(size)).adjusted(12, 12, -12, -12),
                     static_cast<int>(Qt::AlignCenter) | Qt::TextWordWrap, m_message);
    return;
  }
  paintAxis(painter, {left(), 0, m_width - left(), m_height});
  const double height = trackHeight(m_height);
  const std::size_t shown = shownTracks(m_height);
  for (std::size_t row = 0; row < shown; ++row) {
    paintTrack(painter, m_first + row,
               {left(), kAxisHeight + static_cast<double>(row) * height, m_width - left(),
                height - kTrackGap});
  }
  const double top = kAxisHeight + static_cast<double>(shown) * height + 6;
  if (m_showsPath) paintPath(painter, {left(), kAxisHeight, m_width - left(), height});
  paintMemory(painter, {left(), top, m_width - left(), m_height - top - kLegendHeight});
  paintLegend(painter, m_height - kLegendHeight);
}

void TimelineCanvas::paintEvent(QPaintEvent*) {
  QPainter painter(this);
  paintAll(painter, size());
}

void TimelineCanvas::draw(QPainter& painter, const QSize& size) {
  const Span shown = m_shown;
  const std::size_t first = m_first;
  m_shown = {0, std::max(kShortest, static_cast<double>(m_timeline.end))};
  m_first = 0;
  paintAll(painter, size);
  m_first = first;
  m_shown = shown;
  m_width = width();
  m_height = height();
}

std::optional<SlicePlace> TimelineCanvas::sliceAtPoint(const QPointF& point) const {
  const double row = (point.y() - kAxisHeight) / trackHeight(m_height);
  if (point.x() < left() || row < 0 || row >= static_cast<double>(shownTracks(m_height)))
    return std::nullopt;
  const std::size_t track = m_first + static_cast<std::size_t>(row);
  const auto slice =
      sliceAt(m_timeline.tracks[track].slices, static_cast<std::int64_t>(timeAt(point.x())));
  if (!slice) return std::nullopt;
  return SlicePlace{track, *slice};
}

QString TimelineCanvas::textOfSlice(const SlicePlace& place) const {
  const Track& track = m_timeline.tracks[place.track];
  const TrackSlice& slice = track.slices[place.slice];
  return tr("%1 in %2: %3, from %4 on; %5%6")
      .arg(QString::fromStdString(track.names[slice.name]),
           QString::fromStdString(m_timeline.details[slice.detail]),
           timeText(static_cast<double>(slice.end - slice.start)),
           timeText(static_cast<double>(slice.start)), track.title,
           isCritical(track, slice) ? tr("; on the critical path") : QString());
}

void TimelineCanvas::mousePressEvent(QMouseEvent* event) {
  m_pressedAt = event->position();
  m_shownAtPress = m_shown;
}

void TimelineCanvas::mouseMoveEvent(QMouseEvent* event) {
  const double moved = event->position().x() - m_pressedAt.x();
  if (event->buttons().testFlag(Qt::LeftButton)) {
    const double perPixel =
        (m_shownAtPress.end - m_shownAtPress.begin) / std::max(1.0, m_width - left());
    show({m_shownAtPress.begin - moved * perPixel, m_shownAtPress.end - moved * perPixel});
    return;
  }
  const auto place = sliceAtPoint(event->position());
  const auto& told = place ? place : m_selected;
  Q_EMIT described(told ? textOfSlice(*told) : QString());
}

void TimelineCanvas::mouseReleaseEvent(QMouseEvent* event) {
  if ((event->position() - m_pressedAt).manhattanLength() > kDragged) return;
  m_selected = sliceAtPoint(event->position());
  update();
}

void TimelineCanvas::resizeEvent(QResizeEvent* event) {
  QWidget::resizeEvent(event);
  scrollTo(firstShown());
}

void TimelineCanvas::wheelEvent(QWheelEvent* event) {
  // Some platforms turn the wheel sideways with a key.
  const int turned = event->angleDelta().y() + event->angleDelta().x();
  if (event->modifiers().testFlag(Qt::ShiftModifier))
    return scrollTo(firstShown() - (turned > 0 ? 1 : -1));
  zoomAt(event->position().x(), std::pow(1.002, event->angleDelta().y()));
}

void TimelineCanvas::keyPressEvent(QKeyEvent* event) {
  const double middle = (left() + m_width) / 2;
  const double step = (m_shown.end - m_shown.begin) / 10;
  switch (event->key()) {
    case Qt::Key_Plus:
      return zoomAt(middle, 1.5);
    case Qt::Key_Minus:
      return zoomAt(middle, 1 / 1.5);
    case Qt::Key_Left:
      return show({m_shown.begin - step, m_shown.end - step});
    case Qt::Key_Right:
      return show({m_shown.begin + step, m_shown.end + step});
    case Qt::Key_PageUp:
      return scrollTo(firstShown() - static_cast<int>(shownTracks(height())));
    case Qt::Key_PageDown:
      return scrollTo(firstShown() + static_cast<int>(shownTracks(height())));
    case Qt::Key_Home:
      return fit();
    default:
      QWidget::keyPressEvent(event);
  }
}

}  // namespace meshplan::gui

#include <QApplication>
#include <QElapsedTimer>
#include <QFile>
#include <QStandardPaths>
#include <algorithm>
#include <cstdio>
#include <ctime>

#include "gui/views/main_window.h"
#include "gui/views/mesh_view.h"
#include "gui/views/timeline_view.h"
#include "tests/gui/support.h"

namespace meshplan::gui {
namespace {

double milliseconds(const QElapsedTimer& timer) {
  return static_cast<double>(timer.nsecsElapsed()) * 1e-6;
}

void print(const char* what, std::vector<double> times) {
  std::sort(times.begin(), times.end());
  std::printf("%-58s median %7.2f ms, worst %7.2f ms of %zu\n", what, times[times.size() / 2],
              times.back(), times.size());
}

/// From a change of the sequence's length until every view has been drawn anew.
void measureChange(MainWindow& window, const char* nodes) {
  Workspace& workspace = window.workspace();
  Inputs inputs = exampleInputs();
  inputs[Field::kNodes] = nodes;
  inputs[Field::kGlobalBatch] = QString::number(16 * QString(nodes).toInt());
  workspace.document.setAll(inputs, "measure");
  waitUntilReady(workspace);
  std::vector<double> layouts;
  std::vector<double> all;
  std::vector<double> processor;
  for (int i = 0; i < 9; ++i) {
    QElapsedTimer timer;
    timer.start();
    const std::clock_t begin = std::clock();
    workspace.document.set(Field::kSeqLength, i % 2 == 0 ? "4096" : "8192");
    while (workspace.pricing.isBusy()) QApplication::processEvents();
    layouts.push_back(milliseconds(timer));
    waitUntilReady(workspace);
    // Plots draw once what waits is handled.
    QApplication::processEvents();
    window.grab();
    all.push_back(milliseconds(timer));
    processor.push_back(1e3 * static_cast<double>(std::clock() - begin) / CLOCKS_PER_SEC);
  }
  const QString ranks = QString("%1 GPUs, %2 layouts: ")
                            .arg(8 * QString(nodes).toInt())
                            .arg(workspace.selection.set().size());
  print(qPrintable(ranks + "input to layouts"), layouts);
  print(qPrintable(ranks + "input to all views"), all);
  print(qPrintable(ranks + "processor time of that"), processor);
}

template <class Canvas, class Move>
void measureFrames(const char* what, Canvas& canvas, Move&& move) {
  std::vector<double> times;
  for (int i = 0; i < 60; ++i) {
    move(i);
    QElapsedTimer timer;
    timer.start();
    canvas.grab();
    times.push_back(milliseconds(timer));
  }
  print(what, times);
}

Timeline longTimeline() {
  Timeline timeline;
  timeline.details = {"forward block 0"};
  for (int t = 0; t < 5; ++t) {
    Track& track = timeline.tracks.emplace_back();
    track.title = QString("stream %1").arg(t);
    track.names = {"kernel"};
    for (std::int64_t i = 0; i < 200'000; ++i) {
      track.slices.push_back({.start = i * 5000 + 7 * (i % 13),
                              .end = i * 5000 + 4000 + 50 * (i % 11),
                              .kind = static_cast<SliceKind>(i % 7)});
    }
  }
  timeline.end = 1'000'000'000;
  return timeline;
}

void measureMemory() {
  QFile status("/proc/self/status");
  if (!status.open(QIODevice::ReadOnly)) return;
  for (const QByteArray& line : status.readAll().split('\n')) {
    if (line.startsWith("VmHWM")) std::printf("%s\n", line.simplified().constData());
  }
}

void measure(const QElapsedTimer& started) {
  MainWindow window;
  window.resize(1440, 900);
  window.show();
  waitUntilReady(window.workspace());
  window.grab();
  std::printf("start to first window with the example's layouts: %.0f ms\n", milliseconds(started));
  measureChange(window, "8");
  measureChange(window, "512");
  measureChange(window, "2048");
  MeshCanvas& mesh = window.findChild<MeshView*>()->canvas();
  measureFrames("mesh of 16,384 ranks, a frame while panning and zooming", mesh,
                [&](int i) { mesh.zoomAt(mesh.rect().center(), i % 2 == 0 ? 1.1 : 1 / 1.08); });
  TimelineCanvas& timeline = window.findChild<TimelineView*>()->canvas();
  window.tabs().setCurrentIndex(3);
  QTest::qWait(50);
  timeline.setTimeline(longTimeline());
  measureFrames("timeline of 1,000,000 events, a frame while zooming", timeline,
                [&](int i) { timeline.zoomAt(timeline.width() / 2.0, i % 6 == 5 ? 0.1 : 1.6); });
  measureMemory();
}

}  // namespace
}  // namespace meshplan::gui

/// How long the program takes to redraw, by itself and without a display: software rendering.
int main(int argc, char** argv) {
  QElapsedTimer started;
  started.start();
  if (qEnvironmentVariableIsEmpty("QT_QPA_PLATFORM")) qputenv("QT_QPA_PLATFORM", "offscreen");
  QStandardPaths::setTestModeEnabled(true);
  QApplication application(argc, argv);
  meshplan::gui::measure(started);
  return 0;
}

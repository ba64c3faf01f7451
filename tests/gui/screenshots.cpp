#include <QApplication>
#include <QDir>
#include <QPalette>
#include <QStandardPaths>
#include <QStyleFactory>
#include <QTest>
#include <cstdio>

#include "gui/export/picture.h"
#include "gui/views/main_window.h"
#include "gui/views/mesh_view.h"

namespace meshplan::gui {
namespace {

QPalette darkPalette() {
  QPalette palette(QColor(45, 45, 48), QColor(30, 30, 32));
  palette.setColor(QPalette::Text, QColor(230, 230, 230));
  palette.setColor(QPalette::WindowText, QColor(230, 230, 230));
  palette.setColor(QPalette::ButtonText, QColor(230, 230, 230));
  palette.setColor(QPalette::Base, QColor(24, 24, 26));
  palette.setColor(QPalette::PlaceholderText, QColor(150, 150, 150));
  palette.setColor(QPalette::ToolTipBase, QColor(60, 60, 64));
  palette.setColor(QPalette::ToolTipText, QColor(230, 230, 230));
  palette.setColor(QPalette::Highlight, QColor(60, 110, 170));
  return palette;
}

/// A mesh of 16,384 ranks.
bool takeLargeMesh(MainWindow& window, const QString& path) {
  Inputs inputs = exampleInputs();
  inputs[Field::kNodes] = "2048";
  inputs[Field::kGlobalBatch] = "32768";
  window.workspace().document.setAll(inputs, "large");
  waitUntilReady(window.workspace());
  return window.findChild<MeshView*>()->grab().save(path);
}

/// Writes a picture of the window with each of its tabs; false where that cannot be done.
bool takeAll(const QDir& folder, const QString& theme) {
  bool written = true;
  MainWindow window;
  window.resize(1440, 900);
  window.show();
  waitUntilReady(window.workspace());
  for (int tab = 0; tab < window.tabs().count(); ++tab) {
    window.tabs().setCurrentIndex(tab);
    QTest::qWait(60);
    const QString path = folder.filePath(
        QString("%1-%2x-%3.png").arg(theme).arg(window.devicePixelRatioF()).arg(tab));
    if (window.grab().save(path)) continue;
    std::fprintf(stderr, "cannot write %s\n", qPrintable(path));
    written = false;
  }
  return takeLargeMesh(window, folder.filePath(theme + "-mesh-16384.png")) && written;
}

}  // namespace
}  // namespace meshplan::gui

/// gui_screenshots FOLDER: every view, light and dark; at the scale of QT_SCALE_FACTOR.
int main(int argc, char** argv) {
  QStandardPaths::setTestModeEnabled(true);
  QApplication application(argc, argv);
  QApplication::setStyle(QStyleFactory::create("Fusion"));
  const QDir folder(argc > 1 ? argv[1] : "build/screenshots");
  folder.mkpath(".");
  bool written = meshplan::gui::takeAll(folder, "light");
  QApplication::setPalette(meshplan::gui::darkPalette());
  written = meshplan::gui::takeAll(folder, "dark") && written;
  return written ? 0 : 5;
}

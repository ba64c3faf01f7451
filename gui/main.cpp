// SPDX-License-Identifier: GPL-3.0-or-later
#include <QApplication>
#include <QCommandLineParser>
#include <cstdio>

#include "common/error.h"
#include "gui/export/picture.h"
#include "gui/views/main_window.h"

namespace meshplan::gui {
namespace {

int fail(const QString& message, int code) {
  std::fprintf(stderr, "meshplan-gui: %s\n", message.toUtf8().constData());
  return code;
}

/// Needs no display.
bool isHeadless(int argc, char** argv) {
  for (int i = 1; i < argc; ++i) {
    const QString argument = argv[i];
    for (const char* option : {"--export-to", "--version", "--help", "-h", "-v"}) {
      if (argument == option || argument.startsWith(QString(option) + "=")) return true;
    }
  }
  return false;
}

int exportFile(const QString& file, const ExportRequest& request) {
  try {
    Workspace workspace;
    if (!file.isEmpty()) workspace.open(file);
    exportViews(workspace, request);
    return 0;
  } catch (const common::Error& error) {
    return fail(QString::fromUtf8(error.what()), error.exit_code());
  }
}

int showWindow(const QString& file) {
  MainWindow window;
  window.show();
  window.offerLeftSession();
  if (!file.isEmpty()) window.openFile(file);
  return QApplication::exec();
}

int run(int argc, char** argv) {
  if (isHeadless(argc, argv) && qEnvironmentVariableIsEmpty("QT_QPA_PLATFORM"))
    qputenv("QT_QPA_PLATFORM", "offscreen");
  QApplication application(argc, argv);
  QApplication::setOrganizationName("meshplan");
  QApplication::setApplicationName("meshplan-gui");
  QApplication::setApplicationVersion(MESHPLAN_VERSION);
  QApplication::setDesktopFileName("meshplan-gui");
  QCommandLineParser parser;
  parser.setApplicationDescription(
      "See the mesh, feel the trade-off, hand over the plan\n\n"
      "Examples:\n"
      "  meshplan-gui\n"
      "  meshplan-gui plan.json\n"
      "  meshplan-gui plan.json --export-to report.pdf\n"
      "  meshplan-gui plan.json --export-to mesh.svg --view mesh");
  parser.addHelpOption();
  parser.addVersionOption();
  parser.addPositionalArgument("file", "A session, plan, config.json or cluster file", "[file]");
  const QCommandLineOption exportTo(
      "export-to", "Draw to a .pdf, .png or .svg and exit, without a display.", "FILE");
  const QCommandLineOption view(
      "view", "Only this view: " + exportedViews().join(", ") + ". Without it: a report.", "VIEW");
  parser.addOptions({exportTo, view});
  if (!parser.parse(QApplication::arguments())) {
    return fail(parser.errorText() + "; see --help", static_cast<int>(common::ErrorCode::kUsage));
  }
  parser.process(application);
  const QStringList files = parser.positionalArguments();
  const QString file = files.value(0);
  if (files.size() > 1 || (parser.isSet(view) && !parser.isSet(exportTo))) {
    return fail("give one file at most, and --view only with --export-to; see --help",
                static_cast<int>(common::ErrorCode::kUsage));
  }
  if (!parser.isSet(exportTo)) return showWindow(file);
  return exportFile(file, {.path = parser.value(exportTo), .view = parser.value(view)});
}

}  // namespace
}  // namespace meshplan::gui

int main(int argc, char** argv) { return meshplan::gui::run(argc, argv); }

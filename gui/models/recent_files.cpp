// SPDX-License-Identifier: GPL-3.0-or-later
#include "gui/models/recent_files.h"

#include <QFileInfo>
#include <QSettings>
#include <algorithm>

namespace meshplan::gui {
namespace {

constexpr const char* kKey = "recent_files";

}  // namespace

QStringList RecentFiles::paths() const {
  QStringList paths = QSettings().value(kKey).toStringList();
  paths.removeIf([](const QString& path) { return !QFileInfo::exists(path); });
  return paths;
}

void RecentFiles::add(const QString& path) {
  QStringList all = paths();
  const QString absolute = QFileInfo(path).absoluteFilePath();
  all.removeAll(absolute);
  all.prepend(absolute);
  QSettings().setValue(kKey, all.mid(0, kMost));
}

}  // namespace meshplan::gui

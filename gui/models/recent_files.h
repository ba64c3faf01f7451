// SPDX-License-Identifier: GPL-3.0-or-later
#pragma once

#include <QStringList>

namespace meshplan::gui {

/// The files that were opened or saved last, newest first, kept among the user's settings.
class RecentFiles {
 public:
  static constexpr int kMost = 10;

  /// Those that are still there.
  QStringList paths() const;
  void add(const QString& path);
};

}  // namespace meshplan::gui

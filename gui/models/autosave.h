// SPDX-License-Identifier: GPL-3.0-or-later
#pragma once

#include <QLockFile>
#include <QObject>
#include <QTimer>
#include <optional>

#include "gui/models/document.h"
#include "gui/models/selection.h"

namespace meshplan::gui {

/// Keeps what was not saved in a file of its own, a moment after each change, so that it is there
/// again after a crash. The file is replaced whole, and is gone once the program ends in order.
class Autosave : public QObject {
  Q_OBJECT

 public:
  /// Of the user, for the programs that run to keep their files in.
  static QString usualFolder();

  /// The folder is made where it is missing.
  Autosave(Document& document, Selection& selection, const QString& folder,
           QObject* parent = nullptr);
  ~Autosave() override;

  /// Now. Without changes since the document was saved there is nothing to keep.
  void write();

 Q_SIGNALS:
  void failed(const QString& why);

 private:
  Document& m_document;
  Selection& m_selection;
  QString m_path;
  /// Tells other programs that this one runs.
  QLockFile m_lock;
  QTimer m_timer;
};

/// What a program that has ended without closing its window left, and where.
struct LeftSession {
  QString path;
  Session session;
};

/// The newest one; nothing where there is none. Those of programs that run are not touched, what
/// cannot be read is removed.
std::optional<LeftSession> findLeftSession(const QString& folder);

}  // namespace meshplan::gui

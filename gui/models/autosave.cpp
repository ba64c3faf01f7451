// SPDX-License-Identifier: GPL-3.0-or-later
#include "gui/models/autosave.h"

#include <QDir>
#include <QFile>
#include <QStandardPaths>
#include <QUuid>

#include "common/error.h"

namespace meshplan::gui {
namespace {

constexpr int kWaitMilliseconds = 1000;
constexpr const char* kSuffix = ".meshplan.json";
constexpr const char* kLockSuffix = ".lock";

QString newPath(const QString& folder) {
  QDir().mkpath(folder);
  return QDir(folder).filePath(QUuid::createUuid().toString(QUuid::WithoutBraces) + kSuffix);
}

}  // namespace

QString Autosave::usualFolder() {
  return QStandardPaths::writableLocation(QStandardPaths::AppDataLocation) + "/unsaved";
}

Autosave::Autosave(Document& document, Selection& selection, const QString& folder, QObject* parent)
    : QObject(parent),
      m_document(document),
      m_selection(selection),
      m_path(newPath(folder)),
      m_lock(m_path + kLockSuffix) {
  // However long it is held: until the program that holds it has ended.
  m_lock.setStaleLockTime(0);
  m_lock.tryLock(0);
  m_timer.setSingleShot(true);
  m_timer.setInterval(kWaitMilliseconds);
  connect(&m_timer, &QTimer::timeout, this, &Autosave::write);
  const auto changed = [this] { m_timer.start(); };
  connect(&document, &Document::inputsChanged, this, changed);
  connect(&document, &Document::pathChanged, this, changed);
  connect(&selection, &Selection::layoutChanged, this, changed);
}

Autosave::~Autosave() { QFile::remove(m_path); }

void Autosave::write() {
  if (m_document.undoStack()->isClean()) {
    QFile::remove(m_path);
    return;
  }
  try {
    saveSession({m_document.inputs(), m_selection.chosen()}, m_path);
  } catch (const common::Error& error) {
    Q_EMIT failed(QString::fromUtf8(error.what()));
  }
}

std::optional<LeftSession> findLeftSession(const QString& folder) {
  const QDir directory(folder);
  for (const QString& name :
       directory.entryList({QString("*") + kSuffix}, QDir::Files, QDir::Time)) {
    const QString path = directory.filePath(name);
    QLockFile lock(path + kLockSuffix);
    lock.setStaleLockTime(0);
    if (!lock.tryLock(0)) continue;
    try {
      return LeftSession{path, loadSession(path)};
    } catch (const common::Error&) {
      QFile::remove(path);
    }
  }
  return std::nullopt;
}

}  // namespace meshplan::gui

// SPDX-License-Identifier: GPL-3.0-or-later
#pragma once

#include <QObject>
#include <QUndoStack>
#include <optional>

#include "gui/models/fields.h"
#include "planner/layout/layout.h"

namespace meshplan::gui {

/// What a session file keeps: the inputs, and the layout that was chosen last.
struct Session {
  Inputs inputs;
  std::optional<planner::Layout> layout;

  bool operator==(const Session&) const = default;
};

/// Throw common::Error: kIo; kInvalidInput, naming the field, for what is not a session. Files are
/// replaced whole.
Session loadSession(const QString& path);
void saveSession(const Session& session, const QString& path);

/// The inputs that everything follows from, each change of which can be undone.
class Document : public QObject {
  Q_OBJECT

 public:
  explicit Document(QObject* parent = nullptr);

  const Inputs& inputs() const { return m_inputs; }
  QUndoStack* undoStack() { return &m_undo; }

  /// Changes of one field that follow one another within a second are undone as one.
  void set(Field field, const QString& text);
  /// All of them in one step that can be undone.
  void setAll(const Inputs& inputs, const QString& what);

  /// The file, "" for a session that was not saved yet.
  const QString& path() const { return m_path; }
  /// Reads a session, a plan, a model's config.json or a cluster, by what it is; returns the layout
  /// that it chooses, if it does. Throws common::Error, and then nothing has changed.
  std::optional<planner::Layout> open(const QString& path);
  void save(const QString& path, const std::optional<planner::Layout>& layout);
  /// The example, without a file.
  void reset();

 Q_SIGNALS:
  void inputsChanged();
  void pathChanged();

 private:
  friend class InputsCommand;
  void replace(const Inputs& inputs);
  void setPath(const QString& path);

  Inputs m_inputs;
  QString m_path;
  QUndoStack m_undo;
};

}  // namespace meshplan::gui

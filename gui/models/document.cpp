// SPDX-License-Identifier: GPL-3.0-or-later
#include "gui/models/document.h"

#include <QDeadlineTimer>
#include <QFileInfo>

#include "common/error.h"
#include "common/file.h"
#include "common/json.h"
#include "gui/models/problem.h"

namespace meshplan::gui {
namespace {

using common::Error;
using common::ErrorCode;
using common::Json;

constexpr std::int64_t kSchemaVersion = 1;
constexpr int kMergeMilliseconds = 1000;
constexpr int kNeverMerged = -1;
constexpr const char* kInputs = "inputs";

Json toJson(const Session& session) {
  Json inputs = Json::object();
  for (const FieldInfo& info : allFields())
    inputs[info.key] = session.inputs[info.field].toStdString();
  return {{"schema_version", kSchemaVersion},
          {kInputs, std::move(inputs)},
          {"layout", session.layout ? planner::to_json(*session.layout) : Json()}};
}

/// A field that a file of an earlier version lacks keeps what it is at first.
Session readSession(const Json& json, const std::string& where) {
  const common::JsonObject object(json, where);
  object.integer("schema_version", kSchemaVersion, kSchemaVersion);
  const common::JsonObject inputs = object.object(kInputs);
  Session session;
  session.inputs = exampleInputs();
  for (const FieldInfo& info : allFields()) {
    if (inputs.has(info.key))
      session.inputs[info.field] = QString::fromStdString(inputs.text(info.key));
  }
  inputs.reject_unknown_keys();
  if (!object.is_null("layout")) session.layout = planner::read_layout(object.object("layout"));
  object.reject_unknown_keys();
  return session;
}

}  // namespace

Session loadSession(const QString& path) {
  const std::string name = path.toStdString();
  return readSession(common::read_json_file(name), name);
}

void saveSession(const Session& session, const QString& path) {
  common::write_file(path.toStdString(), toJson(session).dump(2) + "\n");
}

/// From some inputs to others.
class InputsCommand : public QUndoCommand {
 public:
  InputsCommand(Document& document, Inputs after, const QString& text, int field)
      : QUndoCommand(text),
        m_document(document),
        m_before(document.inputs()),
        m_after(std::move(after)),
        m_field(field),
        m_mergeUntil(kMergeMilliseconds) {}

  void undo() override { m_document.replace(m_before); }
  void redo() override { m_document.replace(m_after); }
  int id() const override { return m_field; }
  bool mergeWith(const QUndoCommand* other) override {
    const auto& next = static_cast<const InputsCommand&>(*other);
    if (m_mergeUntil.hasExpired()) return false;
    m_after = next.m_after;
    m_mergeUntil = next.m_mergeUntil;
    setObsolete(m_after == m_before);
    return true;
  }

 private:
  Document& m_document;
  Inputs m_before;
  Inputs m_after;
  int m_field;
  QDeadlineTimer m_mergeUntil;
};

Document::Document(QObject* parent) : QObject(parent), m_inputs(exampleInputs()) {}

void Document::set(Field field, const QString& text) {
  if (m_inputs[field] == text) return;
  Inputs after = m_inputs;
  after[field] = text;
  const QString what = tr("Set %1").arg(tr(infoOf(field).label));
  m_undo.push(new InputsCommand(*this, std::move(after), what, static_cast<int>(field)));
}

void Document::setAll(const Inputs& inputs, const QString& what) {
  if (m_inputs == inputs) return;
  m_undo.push(new InputsCommand(*this, inputs, what, kNeverMerged));
}

std::optional<planner::Layout> Document::open(const QString& path) {
  const QString absolute = QFileInfo(path).absoluteFilePath();
  const std::string name = absolute.toStdString();
  const Json json = common::read_json_file(name);
  const QString what = tr("Open %1").arg(QFileInfo(path).fileName());
  const auto has = [&](const char* key) { return json.is_object() && json.contains(key); };
  if (has(kInputs)) {
    const Session session = readSession(json, name);
    setAll(session.inputs, what);
    m_undo.setClean();
    setPath(absolute);
    return session.layout;
  }
  if (has("layout")) {
    const planner::Plan plan = planner::read_plan(json, name);
    setAll(inputsOfPlan(plan, absolute), what);
    return plan.layout;
  }
  const bool isCluster = has("device") || has("gpu");
  Inputs inputs = m_inputs;
  if (isCluster) {
    planner::read_cluster(json, name);
    for (const Field field : {Field::kNodes, Field::kGpusPerNode, Field::kNetwork})
      inputs[field].clear();
  } else {
    planner::read_model_config(json, name);
  }
  inputs[isCluster ? Field::kCluster : Field::kModel] = absolute;
  setAll(inputs, what);
  return std::nullopt;
}

void Document::save(const QString& path, const std::optional<planner::Layout>& layout) {
  const QString absolute = QFileInfo(path).absoluteFilePath();
  saveSession({m_inputs, layout}, absolute);
  m_undo.setClean();
  setPath(absolute);
}

void Document::reset() {
  setAll(exampleInputs(), tr("New session"));
  m_undo.setClean();
  setPath("");
}

void Document::replace(const Inputs& inputs) {
  m_inputs = inputs;
  Q_EMIT inputsChanged();
}

void Document::setPath(const QString& path) {
  if (m_path == path) return;
  m_path = path;
  Q_EMIT pathChanged();
}

}  // namespace meshplan::gui

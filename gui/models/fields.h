// SPDX-License-Identifier: GPL-3.0-or-later
#pragma once

#include <QString>
#include <QStringList>
#include <array>
#include <optional>

namespace meshplan::gui {

/// Every input of a session, in the order in which the panel shows them.
enum class Field {
  kModel,
  kCluster,
  kNodes,
  kGpusPerNode,
  kNetwork,
  kGpuPrice,
  kMemoryLimit,
  kSeqLength,
  kGlobalBatch,
  kMicrobatch,
  kParamDtype,
  kMatmulDtype,
  kReduceDtype,
  kMasterDtype,
  kMomentDtype,
  kTp,
  kDpShard,
  kDpReplicate,
  kPp,
  kCp,
  kSharding,
  kCheckpointing,
  kSequenceParallel,
  kAsyncTp,
  kOptimizerOffload,
};
inline constexpr std::size_t kFields = 25;

/// How a field is asked for, and what it means.
struct FieldInfo {
  Field field;
  /// In session files.
  const char* key;
  const char* group;
  const char* label;
  /// Defines the term, for tool tips.
  const char* help;
  /// Of a first start; "" = decided by the others.
  const char* initial;
  /// What an empty text stands for; nullptr where there has to be one.
  const char* when_empty;
  /// Another text than a suggested one may be typed.
  bool free_text;
};
const FieldInfo& infoOf(Field field);
const std::array<FieldInfo, kFields>& allFields();
std::optional<Field> fieldOfKey(const QString& key);

/// Texts to choose from; all that are allowed, where the field takes no free text.
QStringList suggestionsFor(Field field);

/// What the user typed, field by field; whether it makes sense is decided by resolve().
class Inputs {
 public:
  const QString& operator[](Field field) const { return m_texts[static_cast<std::size_t>(field)]; }
  QString& operator[](Field field) { return m_texts[static_cast<std::size_t>(field)]; }
  bool operator==(const Inputs&) const = default;

 private:
  std::array<QString, kFields> m_texts;
};

/// The example of a first start.
Inputs exampleInputs();

}  // namespace meshplan::gui

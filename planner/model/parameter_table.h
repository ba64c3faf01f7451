#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "planner/model/model_spec.h"

namespace meshplan::planner {

/// How tensor parallelism cuts a parameter: column = rows of the weight (its output features), row
/// = columns of the weight (its input features), vocabulary = rows, padded so that every rank has
/// the same number (Shoeybi et al. 2019, arXiv 1909.08053).
enum class TpSplit { kReplicated, kColumn, kRow, kVocabulary };
const char* to_string(TpSplit split);

/// What a parameter is for. Roles of one fused group (queries, keys and values; gate and up) follow
/// one another. A norm's output norms are those after attention and after the feed-forward.
enum class ParameterRole {
  kEmbedding,
  kPositionEmbedding,
  kEmbeddingNorm,
  kEmbeddingNormBias,
  kEmbeddingProjection,
  kInputNorm,
  kInputNormBias,
  kQueryWeight,
  kKeyWeight,
  kValueWeight,
  kQueryBias,
  kKeyBias,
  kValueBias,
  /// The three in one matrix, where the checkpoint has them so.
  kQueryKeyValueWeight,
  kQueryKeyValueBias,
  kQueryNorm,
  kQueryNormBias,
  kKeyNorm,
  kKeyNormBias,
  kAttentionOutputWeight,
  kAttentionOutputBias,
  kAttentionOutputNorm,
  kAttentionOutputNormBias,
  /// The norm before the feed-forward.
  kPostAttentionNorm,
  kPostAttentionNormBias,
  kGateWeight,
  kUpWeight,
  kGateBias,
  kUpBias,
  /// Gate and up in one matrix.
  kGateUpWeight,
  kGateUpBias,
  kDownWeight,
  kDownBias,
  kRouter,
  kExpertGateWeight,
  kExpertUpWeight,
  kExpertDownWeight,
  kSharedExpertGateWeight,
  kSharedExpertUpWeight,
  kSharedExpertDownWeight,
  /// The weight that the shared expert's output gets.
  kSharedExpertGate,
  kFeedForwardOutputNorm,
  kFeedForwardOutputNormBias,
  kHeadProjection,
  kFinalNorm,
  kFinalNormBias,
  kOutputHead,
  kOutputHeadBias,
};

/// What is sharded and gathered together. kTied is embedding, final norm and head in one, where
/// they share a weight.
enum class UnitKind { kEmbedding, kBlock, kHead, kTied };

struct Unit {
  UnitKind kind;
  /// Index of the decoder block; -1 for the other kinds.
  std::int64_t block = -1;

  bool operator==(const Unit&) const = default;
};

struct Parameter {
  /// As in a Hugging Face checkpoint: "model.layers.0.self_attn.q_proj.weight".
  std::string name;
  ParameterRole role;
  /// Of the whole parameter: [rows, columns] or [elements].
  std::vector<std::int64_t> shape;
  TpSplit split;
  /// A matrix that is stored [inputs, outputs]: rows and columns change places in `split`.
  bool inputs_first = false;
  /// Which expert it belongs to; -1 for what is no expert's, and for all experts in one parameter.
  std::int64_t expert = -1;
};

/// Units: embedding (or tied), the blocks, head. Unit indices are 0 .. unit_count - 1 in this
/// order.
std::int64_t unit_count(const ModelSpec& model);
Unit unit_at(const ModelSpec& model, std::int64_t index);
std::int64_t embedding_unit(const ModelSpec& model);
std::int64_t block_unit(const ModelSpec& model, std::int64_t block);
/// The last unit, or the embedding's where they are tied.
std::int64_t head_unit(const ModelSpec& model);

/// The parameters of a unit, fused groups adjacent.
std::vector<Parameter> parameters_of(const ModelSpec& model, const Unit& unit);

/// Elements of a whole parameter.
std::int64_t element_count(const Parameter& parameter);

/// Elements of the whole model, tied weights once.
std::int64_t parameter_count(const ModelSpec& model);

/// Elements that take part in one token's forward pass: of the experts only experts_per_token in
/// each block that has them.
std::int64_t active_parameter_count(const ModelSpec& model);

/// The dim of the shape that tensor parallelism divides; none for kReplicated.
std::optional<std::size_t> split_dim(const Parameter& parameter);

/// The shape that one of `tp` ranks holds: the split dimension divided by tp, rounded up for the
/// vocabulary.
std::vector<std::int64_t> local_shape(const Parameter& parameter, std::int64_t tp);

}  // namespace meshplan::planner

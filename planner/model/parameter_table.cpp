#include "planner/model/parameter_table.h"

#include <utility>

#include "common/checked.h"
#include "planner/model/block_parameters.h"
#include "planner/model/family.h"
#include "planner/model/feed_forward_model.h"

namespace meshplan::planner {
namespace {

/// Adds `times` this unit's elements to the count. With `active`, of the experts only those that a
/// token passes through.
void add_unit(std::int64_t& count, const ModelSpec& model, const Unit& unit, std::int64_t times,
              bool active) {
  const auto add = [&](std::int64_t elements, std::int64_t copies) {
    count = common::checked_add(count, common::checked_multiply(elements, copies, "parameters"),
                                "parameters");
  };
  for (const Parameter& parameter : parameters_of(model, unit)) {
    const std::int64_t elements = element_count(parameter);
    if (!active || parameter.expert < model.moe.experts_per_token) {
      const bool all_experts = parameter.expert < 0 && is_expert(parameter.role);
      const bool part = active && all_experts;
      add(part ? elements / model.moe.num_experts * model.moe.experts_per_token : elements, times);
    }
  }
}

/// A block with experts or without, whichever there is; -1 for none.
std::int64_t first_block(const ModelSpec& model, bool moe) {
  for (std::int64_t block = 0; block < model.num_hidden_layers; ++block) {
    if (is_moe_block(model, block) == moe) return block;
  }
  return -1;
}

std::int64_t count_parameters(const ModelSpec& model, bool active) {
  std::int64_t count = 0;
  const std::int64_t with_experts = moe_block_count(model);
  for (const bool moe : {false, true}) {
    const std::int64_t blocks = moe ? with_experts : model.num_hidden_layers - with_experts;
    if (blocks > 0)
      add_unit(count, model, {UnitKind::kBlock, first_block(model, moe)}, blocks, active);
  }
  add_unit(count, model, unit_at(model, 0), 1, active);
  if (!model.tie_word_embeddings) add_unit(count, model, {UnitKind::kHead, -1}, 1, active);
  return count;
}

}  // namespace

const char* to_string(TpSplit split) {
  switch (split) {
    case TpSplit::kReplicated:
      return "replicated";
    case TpSplit::kColumn:
      return "column";
    case TpSplit::kRow:
      return "row";
    case TpSplit::kVocabulary:
      return "vocabulary";
  }
  return "replicated";
}

std::int64_t unit_count(const ModelSpec& model) {
  return model.num_hidden_layers + (model.tie_word_embeddings ? 1 : 2);
}

Unit unit_at(const ModelSpec& model, std::int64_t index) {
  if (index == 0) return {model.tie_word_embeddings ? UnitKind::kTied : UnitKind::kEmbedding, -1};
  if (index <= model.num_hidden_layers) return {UnitKind::kBlock, index - 1};
  return {UnitKind::kHead, -1};
}

std::int64_t embedding_unit(const ModelSpec&) { return 0; }

std::int64_t block_unit(const ModelSpec&, std::int64_t block) { return block + 1; }

std::int64_t head_unit(const ModelSpec& model) {
  return model.tie_word_embeddings ? 0 : model.num_hidden_layers + 1;
}

std::vector<Parameter> parameters_of(const ModelSpec& model, const Unit& unit) {
  if (is_feed_forward(model)) return feed_forward_parameters(model, unit);
  if (unit.kind == UnitKind::kBlock) return block_parameters(model, unit.block);
  return outer_parameters(model, unit.kind != UnitKind::kHead, unit.kind != UnitKind::kEmbedding);
}

std::int64_t element_count(const Parameter& parameter) {
  std::int64_t count = 1;
  for (std::int64_t size : parameter.shape)
    count = common::checked_multiply(count, size, parameter.name);
  return count;
}

std::int64_t parameter_count(const ModelSpec& model) { return count_parameters(model, false); }

std::int64_t active_parameter_count(const ModelSpec& model) {
  return count_parameters(model, true);
}

std::optional<std::size_t> split_dim(const Parameter& parameter) {
  if (parameter.split == TpSplit::kReplicated) return std::nullopt;
  const bool rows = parameter.split != TpSplit::kRow;
  return rows == parameter.inputs_first ? 1 : 0;
}

std::vector<std::int64_t> local_shape(const Parameter& parameter, std::int64_t tp) {
  std::vector<std::int64_t> shape = parameter.shape;
  const std::optional<std::size_t> dim = split_dim(parameter);
  if (!dim) return shape;
  shape[*dim] = parameter.split == TpSplit::kVocabulary ? common::ceil_divide(shape[*dim], tp)
                                                        : shape[*dim] / tp;
  return shape;
}

}  // namespace meshplan::planner

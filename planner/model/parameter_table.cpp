#include "planner/model/parameter_table.h"

#include <utility>

#include "common/checked.h"
#include "planner/model/feed_forward_model.h"

namespace meshplan::planner {
namespace {

using Shape = std::vector<std::int64_t>;

void add_embedding(std::vector<Parameter>& list, const ModelSpec& model) {
  list.push_back({"model.embed_tokens.weight", ParameterRole::kEmbedding,
                  Shape{model.vocab_size, model.hidden_size}, TpSplit::kVocabulary});
}

void add_final_norm(std::vector<Parameter>& list, const ModelSpec& model) {
  list.push_back({"model.norm.weight", ParameterRole::kFinalNorm, Shape{model.hidden_size},
                  TpSplit::kReplicated});
}

std::vector<Parameter> block_parameters(const ModelSpec& model, std::int64_t block) {
  using Role = ParameterRole;
  const std::int64_t hidden = model.hidden_size;
  const std::int64_t queries = model.num_attention_heads * model.head_dim;
  const std::int64_t keys = model.num_key_value_heads * model.head_dim;
  const std::string prefix = "model.layers." + std::to_string(block) + ".";
  std::vector<Parameter> list;
  const auto add = [&](const char* name, Role role, Shape shape, TpSplit split) {
    list.push_back({prefix + name, role, std::move(shape), split});
  };
  add("self_attn.q_proj.weight", Role::kQueryWeight, {queries, hidden}, TpSplit::kColumn);
  add("self_attn.k_proj.weight", Role::kKeyWeight, {keys, hidden}, TpSplit::kColumn);
  add("self_attn.v_proj.weight", Role::kValueWeight, {keys, hidden}, TpSplit::kColumn);
  if (model.qkv_bias) {
    add("self_attn.q_proj.bias", Role::kQueryBias, {queries}, TpSplit::kColumn);
    add("self_attn.k_proj.bias", Role::kKeyBias, {keys}, TpSplit::kColumn);
    add("self_attn.v_proj.bias", Role::kValueBias, {keys}, TpSplit::kColumn);
  }
  add("self_attn.o_proj.weight", Role::kAttentionOutputWeight, {hidden, queries}, TpSplit::kRow);
  add("mlp.gate_proj.weight", Role::kGateWeight, {model.intermediate_size, hidden},
      TpSplit::kColumn);
  add("mlp.up_proj.weight", Role::kUpWeight, {model.intermediate_size, hidden}, TpSplit::kColumn);
  add("mlp.down_proj.weight", Role::kDownWeight, {hidden, model.intermediate_size}, TpSplit::kRow);
  add("input_layernorm.weight", Role::kInputNorm, {hidden}, TpSplit::kReplicated);
  if (model.qk_norm) {
    add("self_attn.q_norm.weight", Role::kQueryNorm, {model.head_dim}, TpSplit::kReplicated);
    add("self_attn.k_norm.weight", Role::kKeyNorm, {model.head_dim}, TpSplit::kReplicated);
  }
  if (model.attention_output_bias) {
    add("self_attn.o_proj.bias", Role::kAttentionOutputBias, {hidden}, TpSplit::kReplicated);
  }
  add("post_attention_layernorm.weight", Role::kPostAttentionNorm, {hidden}, TpSplit::kReplicated);
  return list;
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
  std::vector<Parameter> list;
  if (unit.kind != UnitKind::kHead) add_embedding(list, model);
  if (unit.kind == UnitKind::kHead) {
    list.push_back({"lm_head.weight", ParameterRole::kOutputHead,
                    Shape{model.vocab_size, model.hidden_size}, TpSplit::kVocabulary});
  }
  if (unit.kind != UnitKind::kEmbedding) add_final_norm(list, model);
  return list;
}

std::int64_t element_count(const Parameter& parameter) {
  std::int64_t count = 1;
  for (std::int64_t size : parameter.shape)
    count = common::checked_multiply(count, size, parameter.name);
  return count;
}

std::int64_t parameter_count(const ModelSpec& model) {
  std::int64_t count = 0;
  const auto add_unit = [&](const Unit& unit, std::int64_t times) {
    for (const Parameter& parameter : parameters_of(model, unit)) {
      count = common::checked_add(
          count, common::checked_multiply(element_count(parameter), times, parameter.name),
          parameter.name);
    }
  };
  add_unit({UnitKind::kBlock, 0}, model.num_hidden_layers);
  add_unit(unit_at(model, 0), 1);
  if (!model.tie_word_embeddings) add_unit({UnitKind::kHead, -1}, 1);
  return count;
}

std::vector<std::int64_t> local_shape(const Parameter& parameter, std::int64_t tp) {
  std::vector<std::int64_t> shape = parameter.shape;
  if (parameter.split == TpSplit::kColumn) shape[0] /= tp;
  if (parameter.split == TpSplit::kRow) shape[1] /= tp;
  if (parameter.split == TpSplit::kVocabulary) shape[0] = common::ceil_divide(shape[0], tp);
  return shape;
}

}  // namespace meshplan::planner

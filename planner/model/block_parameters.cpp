#include "planner/model/block_parameters.h"

#include <string>
#include <utility>

#include "common/checked.h"
#include "planner/model/family.h"

namespace meshplan::planner {
namespace {

using Role = ParameterRole;
using Shape = std::vector<std::int64_t>;

std::int64_t product(std::int64_t a, std::int64_t b) {
  return common::checked_multiply(a, b, "parameters");
}

/// The parameters of one unit as they are listed.
class Table {
 public:
  Table(const ModelSpec& model, const ModuleNames& names, std::string prefix)
      : model_(model), names_(names), prefix_(std::move(prefix)) {}

  void add(const std::string& name, Role role, Shape shape, TpSplit split) {
    list_.push_back({prefix_ + name, role, std::move(shape), split});
  }

  /// A weight of `outputs` from `inputs`, by the role and the split of its outputs or inputs.
  void matrix(const std::string& module, Role role, std::int64_t outputs, std::int64_t inputs,
              TpSplit split) {
    const bool inputs_first = names_.inputs_first;
    add(module + ".weight", role, inputs_first ? Shape{inputs, outputs} : Shape{outputs, inputs},
        split);
    list_.back().inputs_first = inputs_first;
  }

  void bias(const char* module, Role role, std::int64_t outputs, TpSplit split) {
    add(std::string(module) + ".bias", role, {outputs}, split);
  }

  /// A norm over the hidden state, with what the model's norms have of weight and bias.
  void norm(const char* module, Role weight, Role bias_role) {
    if (model_.norm_weight) {
      add(std::string(module) + ".weight", weight, {model_.hidden_size}, TpSplit::kReplicated);
    }
    if (model_.norm_bias) bias(module, bias_role, model_.hidden_size, TpSplit::kReplicated);
  }

  void of_expert(std::int64_t expert) { list_.back().expert = expert; }

  std::vector<Parameter> take() { return std::move(list_); }

 private:
  const ModelSpec& model_;
  const ModuleNames& names_;
  std::string prefix_;
  std::vector<Parameter> list_;
};

void add_projections(Table& table, const ModelSpec& model, const ModuleNames& names) {
  const std::int64_t hidden = model.hidden_size;
  const std::int64_t queries = product(model.num_attention_heads, model.head_dim);
  const std::int64_t keys = product(model.num_key_value_heads, model.head_dim);
  if (names.query_key_value != nullptr) {
    const std::int64_t all = common::checked_add(queries, product(2, keys), "parameters");
    table.matrix(names.query_key_value, Role::kQueryKeyValueWeight, all, hidden, TpSplit::kColumn);
    if (model.qkv_bias)
      table.bias(names.query_key_value, Role::kQueryKeyValueBias, all, TpSplit::kColumn);
  } else {
    table.matrix(names.query, Role::kQueryWeight, queries, hidden, TpSplit::kColumn);
    table.matrix(names.key, Role::kKeyWeight, keys, hidden, TpSplit::kColumn);
    table.matrix(names.value, Role::kValueWeight, keys, hidden, TpSplit::kColumn);
    if (model.qkv_bias) {
      table.bias(names.query, Role::kQueryBias, queries, TpSplit::kColumn);
      table.bias(names.key, Role::kKeyBias, keys, TpSplit::kColumn);
      table.bias(names.value, Role::kValueBias, keys, TpSplit::kColumn);
    }
  }
  table.matrix(names.attention_output, Role::kAttentionOutputWeight, hidden, queries,
               TpSplit::kRow);
}

void add_plain_feed_forward(Table& table, const ModelSpec& model, const ModuleNames& names) {
  const std::int64_t hidden = model.hidden_size;
  const std::int64_t width = model.intermediate_size;
  const bool bias = model.feed_forward_bias;
  if (model.gated_feed_forward && names.gate_up != nullptr) {
    table.matrix(names.gate_up, Role::kGateUpWeight, product(2, width), hidden, TpSplit::kColumn);
    if (bias) table.bias(names.gate_up, Role::kGateUpBias, product(2, width), TpSplit::kColumn);
  } else {
    if (model.gated_feed_forward)
      table.matrix(names.gate, Role::kGateWeight, width, hidden, TpSplit::kColumn);
    table.matrix(names.up, Role::kUpWeight, width, hidden, TpSplit::kColumn);
    if (bias && model.gated_feed_forward)
      table.bias(names.gate, Role::kGateBias, width, TpSplit::kColumn);
    if (bias) table.bias(names.up, Role::kUpBias, width, TpSplit::kColumn);
  }
  table.matrix(names.down, Role::kDownWeight, hidden, width, TpSplit::kRow);
  if (bias) table.bias(names.down, Role::kDownBias, hidden, TpSplit::kReplicated);
}

void add_experts(Table& table, const ModelSpec& model, const ModuleNames& names) {
  const MoeSpec& moe = model.moe;
  const std::int64_t hidden = model.hidden_size;
  const std::int64_t width = moe.intermediate_size;
  const std::string prefix = std::string(names.experts) + ".";
  table.add(std::string(names.router) + ".weight", Role::kRouter, {moe.num_experts, hidden},
            TpSplit::kReplicated);
  if (names.experts_in_one) {
    const Shape shape = {product(moe.num_experts, width), hidden};
    table.add(prefix + names.expert_gate, Role::kExpertGateWeight, shape, TpSplit::kColumn);
    table.add(prefix + names.expert_up, Role::kExpertUpWeight, shape, TpSplit::kColumn);
    // Stored [width, hidden] like the other two: its inputs are its rows.
    table.add(prefix + names.expert_down, Role::kExpertDownWeight, shape, TpSplit::kColumn);
    return;
  }
  for (std::int64_t expert = 0; expert < moe.num_experts; ++expert) {
    const std::string own = prefix + std::to_string(expert) + ".";
    const auto add = [&](const char* name, Role role, std::int64_t outputs, std::int64_t inputs,
                         TpSplit split) {
      table.matrix(own + name, role, outputs, inputs, split);
      table.of_expert(expert);
    };
    if (model.gated_feed_forward)
      add(names.expert_gate, Role::kExpertGateWeight, width, hidden, TpSplit::kColumn);
    add(names.expert_up, Role::kExpertUpWeight, width, hidden, TpSplit::kColumn);
    add(names.expert_down, Role::kExpertDownWeight, hidden, width, TpSplit::kRow);
  }
}

void add_shared_expert(Table& table, const ModelSpec& model, const ModuleNames& names) {
  const std::int64_t hidden = model.hidden_size;
  const std::int64_t width = model.moe.shared_intermediate_size;
  if (width == 0) return;
  const std::string own = std::string(names.shared_expert) + ".";
  if (model.gated_feed_forward) {
    table.matrix(own + names.expert_gate, Role::kSharedExpertGateWeight, width, hidden,
                 TpSplit::kColumn);
  }
  table.matrix(own + names.expert_up, Role::kSharedExpertUpWeight, width, hidden, TpSplit::kColumn);
  table.matrix(own + names.expert_down, Role::kSharedExpertDownWeight, hidden, width,
               TpSplit::kRow);
  if (model.shared_expert_gate) {
    table.add(std::string(names.shared_expert_gate) + ".weight", Role::kSharedExpertGate,
              {1, hidden}, TpSplit::kReplicated);
  }
}

/// The norm of queries or of keys, of so many heads.
void add_head_norm(Table& table, const ModelSpec& model, const char* module, bool numbered,
                   std::int64_t heads, Role weight, Role bias) {
  const std::string name = module;
  switch (model.qk_norm_shape) {
    case QkNormShape::kSharedHead:
      table.add(name + ".weight", weight, {model.head_dim}, TpSplit::kReplicated);
      if (model.norm_bias) table.bias(module, bias, model.head_dim, TpSplit::kReplicated);
      return;
    case QkNormShape::kAllHeads:
      table.add(name + ".weight", weight, {product(heads, model.head_dim)}, TpSplit::kColumn);
      return;
    case QkNormShape::kEachHead:
      if (!numbered) {
        table.add(name + ".weight", weight, {heads, model.head_dim}, TpSplit::kColumn);
        return;
      }
      for (std::int64_t head = 0; head < heads; ++head) {
        table.add(name + "." + std::to_string(head) + ".weight", weight, {model.head_dim},
                  TpSplit::kReplicated);
      }
      return;
  }
}

void add_qk_norms(Table& table, const ModelSpec& model, const ModuleNames& names) {
  if (!model.qk_norm) return;
  add_head_norm(table, model, names.query_norm, names.numbered_head_norms,
                model.num_attention_heads, Role::kQueryNorm, Role::kQueryNormBias);
  add_head_norm(table, model, names.key_norm, names.numbered_head_norms, model.num_key_value_heads,
                Role::kKeyNorm, Role::kKeyNormBias);
}

}  // namespace

bool is_expert(ParameterRole role) {
  return role == Role::kExpertGateWeight || role == Role::kExpertUpWeight ||
         role == Role::kExpertDownWeight;
}

std::vector<Parameter> block_parameters(const ModelSpec& model, std::int64_t block) {
  const ModuleNames& names = family_of(model.family).names;
  Table table(model, names, std::string(names.blocks) + "." + std::to_string(block) + ".");
  add_projections(table, model, names);
  if (is_moe_block(model, block)) {
    add_experts(table, model, names);
    add_shared_expert(table, model, names);
  } else {
    add_plain_feed_forward(table, model, names);
  }
  const bool before = model.norm_placement != NormPlacement::kAfter;
  const bool after = model.norm_placement != NormPlacement::kBefore;
  const bool own_norms =
      model.parallel_residual && !model.shared_norm && names.parallel_attention_norm != nullptr;
  if (before) {
    table.norm(own_norms ? names.parallel_attention_norm : names.input_norm, Role::kInputNorm,
               Role::kInputNormBias);
  }
  add_qk_norms(table, model, names);
  if (model.attention_output_bias) {
    table.bias(names.attention_output, Role::kAttentionOutputBias, model.hidden_size,
               TpSplit::kReplicated);
  }
  if (after) {
    table.norm(names.attention_output_norm, Role::kAttentionOutputNorm,
               Role::kAttentionOutputNormBias);
  }
  if (before && !model.shared_norm) {
    table.norm(own_norms ? names.parallel_feed_forward_norm : names.feed_forward_norm,
               Role::kPostAttentionNorm, Role::kPostAttentionNormBias);
  }
  if (after) {
    table.norm(names.feed_forward_output_norm, Role::kFeedForwardOutputNorm,
               Role::kFeedForwardOutputNormBias);
  }
  return table.take();
}

std::vector<Parameter> outer_parameters(const ModelSpec& model, bool embedding, bool head) {
  const Family& family = family_of(model.family);
  const ModuleNames& names = family.names;
  // Only weights of blocks are stored the other way round.
  ModuleNames outer = names;
  outer.inputs_first = false;
  Table table(model, outer, "");
  const std::int64_t hidden = model.hidden_size;
  const std::int64_t width = model.embedding_size > 0 ? model.embedding_size : hidden;
  const bool projected = width != hidden;
  if (embedding) {
    table.matrix(names.embedding, Role::kEmbedding, model.vocab_size, width, TpSplit::kVocabulary);
    if (model.positions == Positions::kLearned) {
      table.matrix(names.position_embedding, Role::kPositionEmbedding,
                   model.max_position_embeddings + family.position_offset, hidden,
                   TpSplit::kReplicated);
    }
    if (model.embedding_norm)
      table.norm(names.embedding_norm, Role::kEmbeddingNorm, Role::kEmbeddingNormBias);
    if (projected) {
      table.matrix(names.embedding_projection, Role::kEmbeddingProjection, hidden, width,
                   TpSplit::kReplicated);
    }
  }
  if (!head) return table.take();
  if (!embedding) {
    table.matrix(names.output_head, Role::kOutputHead, model.vocab_size, width,
                 TpSplit::kVocabulary);
  }
  if (model.output_head_bias)
    table.bias(names.output_head, Role::kOutputHeadBias, model.vocab_size, TpSplit::kVocabulary);
  if (projected) {
    table.matrix(names.head_projection, Role::kHeadProjection, width, hidden, TpSplit::kReplicated);
  }
  if (model.final_norm) table.norm(names.final_norm, Role::kFinalNorm, Role::kFinalNormBias);
  return table.take();
}

}  // namespace meshplan::planner

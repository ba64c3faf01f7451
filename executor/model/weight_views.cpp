#include "executor/model/weight_views.h"

#include <ATen/ATen.h>

#include <initializer_list>

namespace meshplan::executor {
namespace {

using Role = planner::ParameterRole;

/// The adjacent parameters of these roles as one view, stacked on the first dimension; undefined
/// where the model lacks them.
at::Tensor view_of(const planner::FlatLayout& flat, const at::Tensor& buffer,
                   std::initializer_list<Role> roles) {
  const planner::FlatEntry* first = flat.find(*roles.begin());
  if (first == nullptr) return {};
  std::vector<std::int64_t> shape = first->local_shape;
  shape[0] = 0;
  std::int64_t elements = 0;
  for (Role role : roles) {
    const planner::FlatEntry* entry = flat.find(role);
    TORCH_INTERNAL_ASSERT(entry != nullptr && entry->offset == first->offset + elements,
                          "fused parameters are adjacent");
    shape[0] += entry->local_shape[0];
    elements += entry->elements;
  }
  return buffer.narrow(0, first->offset, elements).view(shape);
}

}  // namespace

BlockWeights block_weights(const planner::FlatLayout& flat, const at::Tensor& buffer) {
  return {.input_norm = view_of(flat, buffer, {Role::kInputNorm}),
          .qkv = view_of(flat, buffer, {Role::kQueryWeight, Role::kKeyWeight, Role::kValueWeight}),
          .qkv_bias = view_of(flat, buffer, {Role::kQueryBias, Role::kKeyBias, Role::kValueBias}),
          .q_norm = view_of(flat, buffer, {Role::kQueryNorm}),
          .k_norm = view_of(flat, buffer, {Role::kKeyNorm}),
          .o_proj = view_of(flat, buffer, {Role::kAttentionOutputWeight}),
          .o_bias = view_of(flat, buffer, {Role::kAttentionOutputBias}),
          .post_attention_norm = view_of(flat, buffer, {Role::kPostAttentionNorm}),
          .gate_up = view_of(flat, buffer, {Role::kGateWeight, Role::kUpWeight}),
          .down = view_of(flat, buffer, {Role::kDownWeight})};
}

HeadWeights head_weights(const planner::FlatLayout& flat, const at::Tensor& buffer) {
  const bool tied = flat.find(Role::kOutputHead) == nullptr;
  return {
      .norm = view_of(flat, buffer, {Role::kFinalNorm}),
      .output = tied ? embedding_weight(flat, buffer) : view_of(flat, buffer, {Role::kOutputHead})};
}

at::Tensor embedding_weight(const planner::FlatLayout& flat, const at::Tensor& buffer) {
  return view_of(flat, buffer, {Role::kEmbedding});
}

at::Tensor only_weight(const planner::FlatLayout& flat, const at::Tensor& buffer) {
  return view_of(flat, buffer, {flat.entries.front().parameter.role});
}

}  // namespace meshplan::executor

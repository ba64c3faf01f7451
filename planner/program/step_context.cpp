#include "planner/program/step_context.h"

#include "common/checked.h"

namespace meshplan::planner {
namespace {

UnitSizes sizes_of(const FlatLayout& flat) {
  UnitSizes sizes{flat.elements, flat.shard_elements, {0, 0}};
  const FlatEntry* queries = flat.find(ParameterRole::kQueryNorm);
  const FlatEntry* keys = flat.find(ParameterRole::kKeyNorm);
  if (queries != nullptr && keys != nullptr) {
    sizes.replicated_gradients = {queries->offset, keys->offset + keys->elements};
  }
  return sizes;
}

FlatLayout flat_of(const StepContext& context, const Unit& unit) {
  const AxisSizes& sizes = context.layout.mesh.sizes;
  return flat_layout(context.model, unit, sizes[Axis::kTp], sizes[Axis::kDpShard],
                     context.param_size, context.job.decay_norms_and_biases);
}

}  // namespace

bool StepContext::gathers_copy() const {
  return layout.mesh.sizes[Axis::kDpShard] > 1 || job.param_dtype != common::DataType::kFloat32;
}

const UnitSizes& StepContext::sizes_of(std::int64_t unit) const {
  if (unit == embedding_unit(model)) return embedding;
  if (unit == head_unit(model)) return head;
  return block;
}

StepContext make_step_context(const ModelSpec& model, const Job& job, const Layout& layout,
                              DeviceKind device) {
  const std::int64_t tp = layout.mesh.sizes[Axis::kTp];
  StepContext context{.model = model,
                      .job = job,
                      .layout = layout,
                      .device = device,
                      .embedding = {},
                      .block = {},
                      .head = {},
                      .tokens = microbatch_tokens(layout, job),
                      .heads = model.num_attention_heads / tp,
                      .kv_heads = model.num_key_value_heads / tp,
                      .intermediate = model.intermediate_size / tp,
                      .vocab_rows = common::ceil_divide(model.vocab_size, tp),
                      .param_size = common::size_of(job.param_dtype),
                      .reduce_size = common::size_of(job.reduce_dtype)};
  context.embedding = sizes_of(flat_of(context, unit_at(model, embedding_unit(model))));
  context.block = sizes_of(flat_of(context, unit_at(model, block_unit(model, 0))));
  context.head = sizes_of(flat_of(context, unit_at(model, head_unit(model))));
  // The widest activations, so that no later product of sizes overflows.
  for (std::int64_t width :
       {model.hidden_size, context.heads * model.head_dim * 4, context.intermediate * 4,
        context.vocab_rows, context.heads * job.seq_length}) {
    common::checked_multiply(common::checked_multiply(context.tokens, width, "activations"), 64,
                             "activations");
  }
  return context;
}

FlatLayout flat_layout_of(const StepContext& context, std::int64_t unit) {
  return flat_of(context, unit_at(context.model, unit));
}

}  // namespace meshplan::planner

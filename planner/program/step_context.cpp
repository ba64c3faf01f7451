#include "planner/program/step_context.h"

#include "common/checked.h"

namespace meshplan::planner {
namespace {

FlatRange replicated_range(const FlatLayout& flat, bool splits_tokens) {
  if (splits_tokens) {
    return {flat.sections[static_cast<std::size_t>(FlatSection::kReplicatedDecay)].begin,
            flat.sections[static_cast<std::size_t>(FlatSection::kReplicatedNoDecay)].end};
  }
  const FlatEntry* queries = flat.find(ParameterRole::kQueryNorm);
  const FlatEntry* keys = flat.find(ParameterRole::kKeyNorm);
  if (queries == nullptr || keys == nullptr) return {0, 0};
  return {queries->offset, keys->offset + keys->elements};
}

FlatLayout flat_of(const StepContext& context, const Unit& unit) {
  const AxisSizes& sizes = context.layout.mesh.sizes;
  return flat_layout(context.model, unit, sizes[Axis::kTp], sharding_ranks(context.layout.mesh),
                     context.param_size, context.job.decay_norms_and_biases);
}

UnitSizes unit_sizes(const StepContext& context, std::int64_t unit) {
  const FlatLayout flat = flat_of(context, unit_at(context.model, unit));
  return {flat.elements, flat.shard_elements, replicated_range(flat, context.splits_tokens())};
}

}  // namespace

ParameterCopy StepContext::parameter_copy() const {
  // An offloaded optimizer leaves its slices on the device in param_dtype.
  const bool slice_serves = layout.optimizer_offload || job.param_dtype == job.master_dtype;
  if (sharding_ranks(layout.mesh) == 1 && slice_serves) return ParameterCopy::kNone;
  const bool whole =
      layout.sharding == Sharding::kShardOptimizer || layout.sharding == Sharding::kNoShard;
  return whole ? ParameterCopy::kPersistent : ParameterCopy::kGathered;
}

bool StepContext::master_in_copy() const {
  return parameter_copy() == ParameterCopy::kPersistent && job.param_dtype == job.master_dtype;
}

bool StepContext::splits_tokens() const {
  return layout.sequence_parallel && layout.mesh.sizes[Axis::kTp] > 1;
}

const UnitSizes& StepContext::sizes_of(std::int64_t unit) const {
  if (unit == embedding_unit(model)) return embedding;
  if (unit == head_unit(model)) return head;
  return block;
}

ModelSpec as_stages_hold_it(const ModelSpec& model, const Layout& layout) {
  ModelSpec staged = model;
  if (layout.mesh.sizes[Axis::kPp] > 1) staged.tie_word_embeddings = false;
  return staged;
}

StepContext make_step_context(const ModelSpec& model, const Job& job, const Layout& layout,
                              DeviceKind device, std::int64_t stage) {
  const std::int64_t tp = layout.mesh.sizes[Axis::kTp];
  StepContext context{.model = as_stages_hold_it(model, layout),
                      .job = job,
                      .layout = layout,
                      .device = device,
                      .stage = stage_at(model, layout, stage),
                      .embedding = {},
                      .block = {},
                      .head = {},
                      .tokens = microbatch_tokens(layout, job),
                      .residual_tokens = 0,
                      .heads = model.num_attention_heads / tp,
                      .kv_heads = model.num_key_value_heads / tp,
                      .intermediate = model.intermediate_size / tp,
                      .vocab_rows = common::ceil_divide(model.vocab_size, tp),
                      .param_size = common::size_of(job.param_dtype),
                      .reduce_size = common::size_of(job.reduce_dtype),
                      .master_size = common::size_of(job.master_dtype),
                      .moment_size = common::size_of(moment_dtype(job))};
  context.residual_tokens = context.splits_tokens() ? context.tokens / tp : context.tokens;
  context.embedding = unit_sizes(context, embedding_unit(context.model));
  context.block = unit_sizes(context, block_unit(context.model, 0));
  context.head = unit_sizes(context, head_unit(context.model));
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

#include "planner/program/step_context.h"

#include <algorithm>
#include <initializer_list>

#include "common/checked.h"
#include "planner/model/block_parameters.h"

namespace meshplan::planner {
namespace {

/// From the first to the last parameter of these roles that tp replicates; they are neighbours.
FlatRange replicated_run(const FlatLayout& flat, std::initializer_list<ParameterRole> roles) {
  FlatRange run{0, 0};
  for (const FlatEntry& entry : flat.entries) {
    const bool counts = entry.parameter.split == TpSplit::kReplicated &&
                        std::ranges::count(roles, entry.parameter.role) > 0;
    if (!counts) continue;
    if (run.end == 0) run.begin = entry.offset;
    run.end = entry.offset + entry.elements;
  }
  return run;
}

FlatRange all_replicated(const FlatLayout& flat) {
  return {flat.sections[static_cast<std::size_t>(FlatSection::kReplicatedDecay)].begin,
          flat.sections[static_cast<std::size_t>(FlatSection::kReplicatedNoDecay)].end};
}

FlatLayout flat_of(const StepContext& context, const std::vector<Parameter>& parameters,
                   std::int64_t ranks) {
  return flat_layout(parameters, context.layout.mesh.sizes[Axis::kTp], ranks, context.param_size,
                     context.job.decay_norms_and_biases);
}

/// The part of an expert's parameter, or of one for all experts, that a rank holds of those that
/// `ranks` share out; false for another rank's.
bool share_out(Parameter& parameter, std::int64_t experts, std::int64_t ranks) {
  if (parameter.expert < 0) parameter.shape.front() /= ranks;
  return parameter.expert < experts / ranks;
}

UnitSizes unit_sizes(const StepContext& context, std::int64_t unit) {
  const DeviceMesh& mesh = context.layout.mesh;
  std::vector<Parameter> parameters = parameters_of(context.model, unit_at(context.model, unit));
  std::vector<Parameter> experts;
  if (mesh.expert_parallel > 1) {
    for (Parameter& parameter : parameters) {
      if (is_expert(parameter.role) &&
          share_out(parameter, context.model.moe.num_experts, mesh.expert_parallel)) {
        experts.push_back(parameter);
      }
    }
    std::erase_if(parameters, [](const Parameter& p) { return is_expert(p.role); });
  }
  using enum ParameterRole;
  const FlatLayout flat = flat_of(context, parameters, sharding_ranks(mesh));
  UnitSizes sizes{.elements = flat.elements, .shard_elements = flat.shard_elements};
  if (context.splits_tokens()) {
    sizes.replicated_gradients = all_replicated(flat);
  } else {
    sizes.replicated_gradients =
        replicated_run(flat, {kQueryNorm, kQueryNormBias, kKeyNorm, kKeyNormBias});
    sizes.router_gradients = replicated_run(flat, {kRouter, kSharedExpertGate});
  }
  if (experts.empty()) return sizes;
  const FlatLayout apart = flat_of(context, experts, group_size(mesh, Axis::kExpertShard));
  sizes.expert_elements = apart.elements;
  sizes.expert_shard_elements = apart.shard_elements;
  sizes.elements = common::checked_add(sizes.elements, apart.elements, "parameters");
  sizes.shard_elements += apart.shard_elements;
  return sizes;
}

ExpertSizes expert_sizes(const StepContext& context) {
  const MoeSpec& moe = context.model.moe;
  if (moe.num_experts == 0) return {};
  const DeviceMesh& mesh = context.layout.mesh;
  const std::int64_t tp = mesh.sizes[Axis::kTp];
  return {.rows = common::checked_multiply(context.tokens, moe.experts_per_token, "rows"),
          .experts = moe.num_experts / mesh.expert_parallel,
          .intermediate = moe.intermediate_size / tp,
          .shared_intermediate = moe.shared_intermediate_size / tp};
}

/// Of the pairs of a token and one before it, those no further apart than the window.
double attention_share(const ModelSpec& model, const Job& job) {
  if (model.sliding_window == 0 || model.sliding_window >= job.seq_length) return 1;
  const double window =
      static_cast<double>(model.sliding_window) / static_cast<double>(job.seq_length);
  const double windowed =
      static_cast<double>(model.windowed_blocks) / static_cast<double>(model.num_hidden_layers);
  return 1 - windowed * (1 - window) * (1 - window);
}

/// Throws when a product of a row's width and the rows of a microbatch leaves its type; 64 are
/// left for all that is made of one.
void check_activations(const StepContext& context) {
  const ModelSpec& model = context.model;
  const ExpertSizes& experts = context.experts;
  const auto check = [](std::int64_t rows, std::int64_t width) {
    common::checked_multiply(common::checked_multiply(rows, width, "activations"), 64,
                             "activations");
  };
  for (std::int64_t width :
       {model.hidden_size, context.heads * model.head_dim * 4, context.intermediate * 4,
        context.vocab_rows, context.heads * context.job.seq_length, experts.shared_intermediate * 4,
        model.moe.num_experts, model.embedding_size}) {
    check(context.tokens, width);
  }
  for (std::int64_t width : {model.hidden_size, experts.intermediate * 4})
    check(experts.rows, width);
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
  return sizes_of_block(unit - block_unit(model, 0));
}

const UnitSizes& StepContext::sizes_of_block(std::int64_t index) const {
  return is_moe_block(model, index) == is_moe_block(model, 0) ? block : other_block;
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
                      .other_block = {},
                      .tokens = microbatch_tokens(layout, job),
                      .residual_tokens = 0,
                      .heads = model.num_attention_heads / tp,
                      .kv_heads = model.num_key_value_heads / tp,
                      .intermediate = model.intermediate_size / tp,
                      .vocab_rows = common::ceil_divide(model.vocab_size, tp),
                      .experts = {},
                      .attention_share = attention_share(model, job),
                      .param_size = common::size_of(job.param_dtype),
                      .reduce_size = common::size_of(job.reduce_dtype),
                      .master_size = common::size_of(job.master_dtype),
                      .moment_size = common::size_of(moment_dtype(job))};
  context.residual_tokens = context.splits_tokens() ? context.tokens / tp : context.tokens;
  context.embedding = unit_sizes(context, embedding_unit(context.model));
  context.block = unit_sizes(context, block_unit(context.model, 0));
  context.head = unit_sizes(context, head_unit(context.model));
  if (const std::int64_t other = first_other_block(model); other > 0)
    context.other_block = unit_sizes(context, block_unit(context.model, other));
  context.experts = expert_sizes(context);
  check_activations(context);
  return context;
}

FlatLayout flat_layout_of(const StepContext& context, std::int64_t unit) {
  return flat_of(context, parameters_of(context.model, unit_at(context.model, unit)),
                 sharding_ranks(context.layout.mesh));
}

}  // namespace meshplan::planner

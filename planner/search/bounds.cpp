#include "planner/search/bounds.h"

#include <algorithm>

#include "planner/cost/priced_program.h"
#include "planner/layout/stage.h"
#include "planner/model/feed_forward_model.h"
#include "planner/model/flat_layout.h"
#include "planner/model/parameter_table.h"
#include "planner/program/schedule.h"
#include "planner/search/interleaved_play.h"

namespace meshplan::planner {
namespace {

std::int64_t has_stages(const Layout& layout) { return layout.mesh.sizes[Axis::kPp] > 1 ? 1 : 0; }

}  // namespace

LayoutBounds::LayoutBounds(const ModelSpec& model, const ClusterSpec& cluster, const Job& job)
    : model_(model),
      cluster_(cluster),
      job_(job),
      bounds_model_(!is_feed_forward(model)),
      other_block_(bounds_model_ ? first_other_block(model) : 0) {}

common::Seconds LayoutBounds::compute_time(const Layout& layout) {
  if (!bounds_model_) return {};
  if (layout.virtual_stages > 1)
    return common::Seconds(least_interleaved_time(interleaved_passes(layout)));
  return common::Seconds(least_time(layout, {}, Recomputed::kNone));
}

common::Seconds LayoutBounds::time(const Layout& layout) {
  return time(layout, Recomputed::kLeast);
}

common::Seconds LayoutBounds::time_as_chosen(const Layout& layout) {
  return time(layout, Recomputed::kChosen);
}

common::Seconds LayoutBounds::time_as_played(const Layout& layout) {
  if (!bounds_model_ || layout.virtual_stages == 1) return time_as_chosen(layout);
  const InterleavedStep step = interleaved_step(layout, Recomputed::kChosen);
  if (!is_soon_played(step)) return time_as_chosen(layout);
  return common::Seconds(played_interleaved_time(step)) + update_time(layout);
}

common::Seconds LayoutBounds::time(const Layout& layout, Recomputed recomputed) {
  if (!bounds_model_) return {};
  const double passes = layout.virtual_stages > 1
                            ? least_interleaved_time(interleaved_step(layout, recomputed))
                            : least_time(layout, collectives_of(layout), recomputed);
  return common::Seconds(passes) + update_time(layout);
}

common::Seconds LayoutBounds::update_time(const Layout& layout) {
  const std::int64_t last = layout.mesh.sizes[Axis::kPp] - 1;
  const Elements& elements = elements_of(layout);
  const std::int64_t blocks = stage_at(model_, layout, last).blocks;
  const std::int64_t slice =
      layout.sharding == Sharding::kNoShard
          ? blocks * elements.block
          : sharded(layout, blocks * elements.block, blocks * elements.block_experts);
  if (layout.optimizer_offload) {
    const common::Bytes moved(
        slice * (common::size_of(job_.reduce_dtype) + common::size_of(job_.param_dtype)));
    const common::Bytes updated(
        slice * (2 * common::size_of(job_.master_dtype) + 4 * common::size_of(moment_dtype(job_))));
    const auto of_node = static_cast<double>(cluster_.devices_per_node);
    return moved / cluster_.device.host_bandwidth +
           of_node * (updated / cluster_.host_memory_bandwidth);
  }
  // AdamW reads four numbers of an element and writes three.
  const common::Bytes updated(
      slice * (3 * common::size_of(job_.master_dtype) + 4 * common::size_of(moment_dtype(job_))));
  return updated / cluster_.device.memory_bandwidth;
}

double LayoutBounds::least_time(const Layout& layout, const BlockCollectives& collectives,
                                Recomputed recomputed) {
  const auto& [embedding, block, head] = passes_of(layout);
  const auto microbatches = static_cast<double>(layout.accumulation);
  const auto gathered_before = static_cast<double>(1 + layout.prefetch_depth);
  // Of the stages before, which a microbatch passes through first and last.
  double before = 0;
  double longest = 0;
  for (const Stage& stage : stages_of(model_, layout)) {
    const auto blocks = static_cast<double>(stage.blocks);
    double forward = blocks * block.forward + (stage.is_first() ? embedding.forward : 0);
    double backward = blocks * block.backward + (stage.is_first() ? embedding.backward : 0) +
                      (stage.is_last() ? head.backward : 0);
    if (recomputed == Recomputed::kLeast) backward += least_recompute_time(layout, stage);
    if (recomputed == Recomputed::kChosen) backward += chosen_recompute_time(layout, stage);
    // Copies that are kept may last through the passes ahead.
    const auto ahead = static_cast<double>(warm_up_passes(stage, layout));
    const double gathers = ((microbatches - ahead) * blocks - gathered_before) * collectives.gather;
    const double reductions =
        ((microbatches - 1) * blocks) * collectives.reduce + (blocks - 2) * collectives.last_reduce;
    // Those of a pass go on one after the other.
    const double in_order = std::max(0.0, blocks - 2);
    const double last_backward = std::max(backward, in_order * collectives.last_reduce);
    if (stage.is_last()) {
      forward = std::max(forward, (blocks - gathered_before) * collectives.gather);
      backward = std::max(backward, in_order * collectives.reduce);
    }
    // Compute is taken by gradients that are added up, too.
    backward += blocks * collectives.accumulate;
    const double passes = microbatches * forward + (microbatches - 1) * backward + last_backward;
    longest = std::max(longest, before + std::max({passes, gathers, reductions}));
    before += forward + last_backward + 2 * collectives.send;
  }
  return longest;
}

LayoutBounds::BlockCollectives LayoutBounds::collectives_of(const Layout& layout) {
  const Elements& elements = elements_of(layout);
  const std::int64_t param_size = common::size_of(job_.param_dtype);
  const std::int64_t reduce_size = common::size_of(job_.reduce_dtype);
  BlockCollectives block;
  if (layout.mesh.sizes[Axis::kPp] > 1) {
    block.send =
        collective(layout, CollectiveKind::kSend, Axis::kPp, input_elements(layout) * param_size)
            .duration.value;
  }
  block.accumulate = accumulate_time(layout);
  if (sharding_ranks(layout.mesh) > 1) {
    if (without_replicas(layout.sharding) == Sharding::kFullShard)
      block.gather = over_shards(layout, CollectiveKind::kAllGather, param_size).duration;
    block.last_reduce = over_shards(layout, CollectiveKind::kReduceScatter, reduce_size).duration;
    if (!accumulates_whole_gradients(layout)) block.reduce = block.last_reduce;
  }
  if (layout.mesh.sizes[Axis::kDpReplicate] > 1) {
    const Price sum =
        collective(layout, CollectiveKind::kAllReduce, Axis::kDpReplicate,
                   sharded(layout, elements.block, elements.block_experts) * reduce_size);
    block.last_reduce = std::max(block.last_reduce, sum.duration.value);
  }
  return block;
}

BesideCompute LayoutBounds::over_shards(const Layout& layout, CollectiveKind kind,
                                        std::int64_t element_size) {
  // Of blocks that differ neither takes less in all.
  if (other_block_ != 0 && layout.mesh.expert_parallel > 1) return {};
  const auto [embedding, block, experts, head] = elements_of(layout);
  const Price shared = collective(layout, kind, Axis::kDpShard, (block - experts) * element_size);
  BesideCompute both{shared.duration.value, shared.taken_from_compute.value};
  if (experts == 0 || group_size(layout.mesh, Axis::kExpertShard) == 1) return both;
  const Price apart = collective(layout, kind, Axis::kExpertShard, experts * element_size);
  both.duration += apart.duration.value;
  both.taken += apart.taken_from_compute.value;
  return both;
}

double LayoutBounds::first_accumulate_time(const Layout& layout) {
  if (job_.param_dtype == job_.reduce_dtype) return 0;
  const common::Bytes moved(elements_of(layout).block * (common::size_of(job_.param_dtype) +
                                                         common::size_of(job_.reduce_dtype)));
  return (moved / cluster_.device.memory_bandwidth).value;
}

double LayoutBounds::accumulate_time(const Layout& layout) {
  const common::Bytes elements(elements_of(layout).block);
  const common::Bytes read = elements * common::size_of(job_.param_dtype);
  const common::Bytes gradient = elements * common::size_of(job_.reduce_dtype);
  if (accumulates_whole_gradients(layout) || sharding_ranks(layout.mesh) == 1)
    return ((read + gradient * 2) / cluster_.device.memory_bandwidth).value;
  if (job_.param_dtype == job_.reduce_dtype) return 0;
  return ((read + gradient) / cluster_.device.memory_bandwidth).value;
}

const LayoutBounds::Saving& LayoutBounds::saving_of(const Layout& layout) {
  const auto [found, is_new] = savings_.try_emplace(key_of(layout));
  if (!is_new) return found->second;
  Saving& saving = found->second;
  Layout tried = layout;
  tried.checkpointed_blocks.reset();
  const auto cost_of = [&](const StepContext& context, Opcode opcode) {
    const Instruction instruction{.opcode = opcode,
                                  .computation = Computation::kBlock,
                                  .unit = block_unit(context.model, 0),
                                  .recompute = recompute_of(tried, 0)};
    return price_instruction(context, cluster_, instruction).cost;
  };
  const auto way = [&](ActivationCheckpointing checkpointing) {
    tried.activation_checkpointing = checkpointing;
    const StepContext context = make_step_context(model_, job_, tried, cluster_.device.kind);
    const InstructionCost backward = cost_of(context, Opcode::kBackward);
    return Saving::Way{
        .saved = static_cast<double>(cost_of(context, Opcode::kForward).net_total.value),
        .recompute = backward.before.total.value + backward.after.total.value};
  };
  const Saving::Way none = way(ActivationCheckpointing::kNone);
  saving = {
      .saved = none.saved,
      .ways = {way(ActivationCheckpointing::kSelective), way(ActivationCheckpointing::kFull)}};
  for (Saving::Way& checkpointed : saving.ways) checkpointed.recompute -= none.recompute;
  return saving;
}

double LayoutBounds::recompute_time(const Layout& layout) {
  const bool full = layout.activation_checkpointing == ActivationCheckpointing::kFull;
  return std::max(0.0, saving_of(layout).ways[full ? 1 : 0].recompute);
}

double LayoutBounds::chosen_recompute_time(const Layout& layout, const Stage& stage) {
  if (other_block_ != 0) return 0;
  if (layout.activation_checkpointing == ActivationCheckpointing::kNone) return 0;
  const std::int64_t chosen = layout.checkpointed_blocks.value_or(model_.num_hidden_layers);
  const std::int64_t blocks = std::clamp<std::int64_t>(chosen - stage.first_block, 0, stage.blocks);
  return static_cast<double>(blocks) * recompute_time(layout);
}

std::int64_t LayoutBounds::input_elements(const Layout& layout) const {
  const bool splits_tokens = layout.sequence_parallel && layout.mesh.sizes[Axis::kTp] > 1;
  return microbatch_tokens(layout, job_) * model_.hidden_size /
         (splits_tokens ? layout.mesh.sizes[Axis::kTp] : 1);
}

LayoutBounds::PassKey LayoutBounds::key_of(const Layout& layout) {
  const AxisSizes& sizes = layout.mesh.sizes;
  return {sizes[Axis::kTp],           sizes[Axis::kCp],
          layout.microbatch_size,     std::int64_t{layout.sequence_parallel},
          has_stages(layout),         std::int64_t{layout.async_tp},
          layout.mesh.expert_parallel};
}

const LayoutBounds::Passes& LayoutBounds::passes_of(const Layout& layout) {
  const auto [found, is_new] = passes_.try_emplace(key_of(layout));
  if (!is_new) return found->second;
  const StepContext context = make_step_context(model_, job_, layout, cluster_.device.kind);
  const auto seconds = [&](Opcode opcode, Computation computation, std::int64_t unit,
                           Recompute recompute = {}) {
    const Instruction instruction{
        .opcode = opcode, .computation = computation, .unit = unit, .recompute = recompute};
    const InstructionCost cost = price_instruction(context, cluster_, instruction).cost;
    return cost.before.total.value + cost.after.total.value;
  };
  const ModelSpec& model = context.model;
  const auto pass = [&](Computation computation, std::int64_t unit) {
    return UnitPass{.forward = seconds(Opcode::kForward, computation, unit),
                    .backward = seconds(Opcode::kBackward, computation, unit)};
  };
  const auto block = [&](std::int64_t index) {
    UnitPass passes = pass(Computation::kBlock, block_unit(model, index));
    if (!layout.async_tp) return passes;
    // What is computed twice may spare a collective more than it takes, where pieces hide others.
    Layout tried = layout;
    tried.checkpointed_blocks.reset();
    for (const auto way : {ActivationCheckpointing::kSelective, ActivationCheckpointing::kFull}) {
      tried.activation_checkpointing = way;
      passes.backward =
          std::min(passes.backward, seconds(Opcode::kBackward, Computation::kBlock,
                                            block_unit(model, index), recompute_of(tried, index)));
    }
    return passes;
  };
  const UnitPass first = block(0);
  const UnitPass other = other_block_ == 0 ? first : block(other_block_);
  found->second = {
      .embedding = pass(Computation::kEmbedding, embedding_unit(model)),
      .block = {.forward = std::min(first.forward, other.forward),
                .backward = std::min(first.backward, other.backward)},
      .head = {.backward = seconds(Opcode::kLoss, Computation::kHead, head_unit(model))}};
  return found->second;
}

const LayoutBounds::Elements& LayoutBounds::elements_of(const Layout& layout) {
  const std::int64_t tp = layout.mesh.sizes[Axis::kTp];
  const std::int64_t ep = layout.mesh.expert_parallel;
  const auto [found, is_new] = elements_.try_emplace({tp, has_stages(layout), ep});
  if (!is_new) return found->second;
  const ModelSpec model = as_stages_hold_it(model_, layout);
  const auto elements = [&](std::int64_t unit) {
    return flat_layout(model, unit_at(model, unit), tp, 1, common::size_of(job_.param_dtype),
                       job_.decay_norms_and_biases)
        .elements;
  };
  Elements& sizes = found->second;
  sizes.embedding = elements(embedding_unit(model));
  sizes.head = model.tie_word_embeddings ? 0 : elements(head_unit(model));
  sizes.block = std::min(elements(block_unit(model, 0)), elements(block_unit(model, other_block_)));
  if (ep == 1) return sizes;
  // Over no more ranks than share out the experts, so that as little as can be is padded.
  Layout smallest = layout;
  for (const Axis axis : {Axis::kDpReplicate, Axis::kCp}) smallest.mesh.sizes[axis] = 1;
  smallest.mesh.sizes[Axis::kDpShard] = ep;
  const StepContext context = make_step_context(model_, job_, smallest, cluster_.device.kind);
  const UnitSizes& other = other_block_ == 0 ? context.block : context.other_block;
  const UnitSizes& lesser = other.elements < context.block.elements ? other : context.block;
  sizes.block = lesser.elements;
  // As if none were shared out, where slices of the other block may be less.
  sizes.block_experts = other_block_ == 0 ? lesser.expert_elements : 0;
  return sizes;
}

Price LayoutBounds::collective(const Layout& layout, CollectiveKind kind, Axis axis,
                               std::int64_t bytes) const {
  Operation operation;
  operation.kind = OperationKind::kCollective;
  operation.collective = kind;
  operation.axis = axis;
  operation.bytes = common::Bytes(bytes);
  return price(cluster_, layout.mesh, job_.param_dtype, operation);
}

}  // namespace meshplan::planner

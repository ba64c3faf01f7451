#include "planner/search/bounds.h"

#include <algorithm>
#include <cmath>
#include <limits>

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

/// Passes through chunks of blocks between their forward and their backward, at their most.
std::int64_t chunks_under_way(const Layout& layout, const Stage& stage) {
  return std::min(layout.accumulation * layout.virtual_stages, warm_up_passes(stage, layout) + 1);
}

/// A chunk of a stage, and its forward passes when the first backward pass begins.
struct ChunkUnderWay {
  std::int64_t first_block = 0;
  std::int64_t blocks = 0;
  double passes = 0;

  double block_passes() const { return static_cast<double>(blocks) * passes; }
};

std::vector<ChunkUnderWay> chunks_with_passes(const ModelSpec& model, const Layout& layout,
                                              const Stage& stage) {
  const std::int64_t passes = chunks_under_way(layout, stage);
  // Of one chunk as many follow one another as there are stages.
  const std::int64_t round = stage.count * layout.virtual_stages;
  std::vector<ChunkUnderWay> chunks;
  for (const Chunk& chunk : chunks_of(model, layout, stage.index)) {
    const std::int64_t before = std::ssize(chunks) * stage.count;
    const std::int64_t in_turn = passes / round * stage.count +
                                 std::clamp<std::int64_t>(passes % round - before, 0, stage.count);
    chunks.push_back({chunk.first_block, chunk.blocks,
                      static_cast<double>(layout.virtual_stages > 1 ? in_turn : passes)});
  }
  return chunks;
}

/// Blocks' forward passes then.
struct BlocksUnderWay {
  double passes = 0;
  /// Of the block with most of them.
  double most_of_block = 0;
};

BlocksUnderWay blocks_under_way(const ModelSpec& model, const Layout& layout, const Stage& stage) {
  BlocksUnderWay blocks;
  for (const ChunkUnderWay& chunk : chunks_with_passes(model, layout, stage)) {
    blocks.passes += chunk.block_passes();
    blocks.most_of_block = std::max(blocks.most_of_block, chunk.passes);
  }
  return blocks;
}

bool keeps_whole(Sharding sharding) {
  return sharding == Sharding::kShardOptimizer || sharding == Sharding::kNoShard;
}

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
  const bool shares_experts = layout.mesh.expert_parallel > 1;
  const InterleavedStep step = shares_experts ? interleaved_passes(layout)
                                              : interleaved_step(layout, Recomputed::kChosen);
  if (!is_soon_played(step)) return time_as_chosen(layout);
  const common::Seconds passes(played_interleaved_time(step));
  return shares_experts ? passes : passes + update_time(layout);
}

common::Seconds LayoutBounds::time(const Layout& layout, Recomputed recomputed) {
  if (!bounds_model_) return {};
  if (layout.mesh.expert_parallel > 1) return compute_time(layout);
  const double passes = layout.virtual_stages > 1
                            ? least_interleaved_time(interleaved_step(layout, recomputed))
                            : least_time(layout, collectives_of(layout), recomputed);
  return common::Seconds(passes) + update_time(layout);
}

common::Seconds LayoutBounds::update_time(const Layout& layout) {
  const std::int64_t last = layout.mesh.sizes[Axis::kPp] - 1;
  const std::int64_t slice =
      stage_at(model_, layout, last).blocks * elements_of(layout).block /
      (layout.sharding == Sharding::kNoShard ? 1 : sharding_ranks(layout.mesh));
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

InterleavedStep LayoutBounds::interleaved_passes(const Layout& layout) {
  const auto& [embedding, block, head] = passes_of(layout);
  return {.stages = layout.mesh.sizes[Axis::kPp],
          .chunks = layout.virtual_stages,
          .microbatches = layout.accumulation,
          .blocks = model_.num_hidden_layers,
          .embedding = embedding,
          .block = block,
          .head = head};
}

InterleavedStep LayoutBounds::interleaved_step(const Layout& layout, Recomputed recomputed) {
  InterleavedStep step = interleaved_passes(layout);
  const Elements& elements = elements_of(layout);
  const std::int64_t shards = sharding_ranks(layout.mesh);
  const std::int64_t param_size = common::size_of(job_.param_dtype);
  const std::int64_t reduce_size = common::size_of(job_.reduce_dtype);
  const auto beside = [&](CollectiveKind kind, Axis axis, std::int64_t bytes) -> BesideCompute {
    const Price price = collective(layout, kind, axis, bytes);
    return {price.duration.value, price.taken_from_compute.value};
  };
  const bool chosen = recomputed == Recomputed::kChosen;
  step.prefetch_depth = layout.prefetch_depth;
  step.kept_gathered = chosen ? layout.blocks_kept_gathered : step.blocks;
  step.send =
      collective(layout, CollectiveKind::kSend, Axis::kPp, input_elements(layout) * param_size)
          .duration.value;
  if (shards > 1 && layout.sharding != Sharding::kNoShard) {
    step.gathers_each_pass = without_replicas(layout.sharding) == Sharding::kFullShard;
    step.gather = beside(CollectiveKind::kAllGather, Axis::kDpShard, elements.block * param_size);
    step.gather_embedding = collective(layout, CollectiveKind::kAllGather, Axis::kDpShard,
                                       elements.embedding * param_size)
                                .duration.value;
  }
  if (shards > 1) {
    step.last_reduce =
        beside(CollectiveKind::kReduceScatter, Axis::kDpShard, elements.block * reduce_size);
    if (!accumulates_whole_gradients(layout)) step.reduce = step.last_reduce;
    step.reduce_embedding = collective(layout, CollectiveKind::kReduceScatter, Axis::kDpShard,
                                       elements.embedding * reduce_size)
                                .duration.value;
  }
  if (layout.mesh.sizes[Axis::kDpReplicate] > 1) {
    step.sum_replicas = beside(CollectiveKind::kAllReduce, Axis::kDpReplicate,
                               elements.block / shards * reduce_size);
    step.sum_embedding = collective(layout, CollectiveKind::kAllReduce, Axis::kDpReplicate,
                                    elements.embedding / shards * reduce_size)
                             .duration.value;
  }
  // Less is read of the first microbatch's, which is counted here as the last one.
  step.reduce.taken += accumulate_time(layout);
  step.last_reduce.taken += first_accumulate_time(layout);
  add_recomputation(layout, recomputed, step);
  return step;
}

void LayoutBounds::add_recomputation(const Layout& layout, Recomputed recomputed,
                                     InterleavedStep& step) {
  if (other_block_ != 0) return;
  if (recomputed == Recomputed::kLeast) {
    step.recompute_of_stage = [this, layout](std::int64_t index) {
      return least_recompute_time(layout, stage_at(model_, layout, index));
    };
  }
  if (recomputed != Recomputed::kChosen ||
      layout.activation_checkpointing == ActivationCheckpointing::kNone)
    return;
  step.recomputed_blocks = layout.checkpointed_blocks.value_or(step.blocks);
  step.recompute = recompute_time(layout);
}

LayoutBounds::BlockCollectives LayoutBounds::collectives_of(const Layout& layout) {
  const auto duration = [&](CollectiveKind kind, Axis axis, std::int64_t bytes) {
    return collective(layout, kind, axis, bytes).duration.value;
  };
  const std::int64_t elements = elements_of(layout).block;
  const std::int64_t gradient = elements * common::size_of(job_.reduce_dtype);
  BlockCollectives block;
  if (layout.mesh.sizes[Axis::kPp] > 1) {
    block.send = duration(CollectiveKind::kSend, Axis::kPp,
                          input_elements(layout) * common::size_of(job_.param_dtype));
  }
  const std::int64_t in_param_dtype = elements * common::size_of(job_.param_dtype);
  block.accumulate = accumulate_time(layout);
  if (sharding_ranks(layout.mesh) > 1) {
    if (without_replicas(layout.sharding) == Sharding::kFullShard) {
      block.gather = duration(CollectiveKind::kAllGather, Axis::kDpShard, in_param_dtype);
    }
    block.last_reduce = duration(CollectiveKind::kReduceScatter, Axis::kDpShard, gradient);
    if (!accumulates_whole_gradients(layout)) block.reduce = block.last_reduce;
  }
  if (layout.mesh.sizes[Axis::kDpReplicate] > 1) {
    block.last_reduce =
        std::max(block.last_reduce, duration(CollectiveKind::kAllReduce, Axis::kDpReplicate,
                                             gradient / sharding_ranks(layout.mesh)));
  }
  return block;
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

common::Bytes LayoutBounds::memory(const Layout& layout) {
  return memory(layout,
                static_cast<double>(input_elements(layout) * common::size_of(job_.param_dtype)));
}

common::Bytes LayoutBounds::memory_as_checkpointed(const Layout& layout) {
  if (!bounds_model_ || other_block_ != 0) return memory(layout);
  const Saving& saving = saving_of(layout);
  switch (layout.activation_checkpointing) {
    case ActivationCheckpointing::kNone:
      return memory(layout, saving.saved);
    case ActivationCheckpointing::kSelective:
      return memory(layout, saving.ways[0].saved);
    case ActivationCheckpointing::kFull:
      return memory(layout, saving.ways[1].saved);
  }
  return memory(layout);
}

common::Bytes LayoutBounds::memory(const Layout& layout, double saved) {
  if (!bounds_model_ || layout.mesh.expert_parallel > 1) return {};
  std::int64_t highest = 0;
  const std::int64_t stages = layout.mesh.sizes[Axis::kPp];
  for (const std::int64_t index : {std::int64_t{0}, std::min<std::int64_t>(1, stages - 1)}) {
    const Stage stage = stage_at(model_, layout, index);
    const auto activations =
        static_cast<std::int64_t>(blocks_under_way(model_, layout, stage).passes * saved);
    const std::int64_t gradients =
        slice_elements(layout, stage) * common::size_of(job_.reduce_dtype);
    const std::int64_t beside = bytes_beside_activations(layout, stage);
    highest =
        std::max(highest, state_bytes(layout, stage) + std::max(activations + beside, gradients));
  }
  return common::Bytes(highest);
}

std::int64_t LayoutBounds::slice_elements(const Layout& layout, const Stage& stage) {
  const Elements& elements = elements_of(layout);
  const std::int64_t held = stage.blocks * elements.block +
                            (stage.is_first() ? elements.embedding : 0) +
                            (stage.is_last() ? elements.head : 0);
  return held / sharding_ranks(layout.mesh);
}

std::int64_t LayoutBounds::bytes_beside_activations(const Layout& layout, const Stage& stage) {
  const Elements& elements = elements_of(layout);
  const Sharding sharding = without_replicas(layout.sharding);
  const bool interleaved = layout.virtual_stages > 1;
  // Of chunks in turn, others may not have begun, or have ended.
  const std::int64_t in_chunk = stage.blocks / layout.virtual_stages;
  std::int64_t bytes = 0;
  if (sharding_ranks(layout.mesh) > 1 && !keeps_whole(sharding)) {
    // At the end of the forward pass, or in the loss.
    const std::int64_t blocks = sharding == Sharding::kFullShard ? 1 : in_chunk;
    const std::int64_t head = stage.is_last() && !interleaved ? elements.head : 0;
    bytes += (blocks * elements.block + head) * common::size_of(job_.param_dtype);
  }
  if (layout.accumulation * layout.virtual_stages > chunks_under_way(layout, stage)) {
    const std::int64_t slice = interleaved ? in_chunk * elements.block / sharding_ranks(layout.mesh)
                                           : slice_elements(layout, stage);
    const bool whole = accumulates_whole_gradients(layout);
    bytes +=
        (whole ? slice * sharding_ranks(layout.mesh) : slice) * common::size_of(job_.reduce_dtype);
  }
  return bytes;
}

std::int64_t LayoutBounds::state_bytes(const Layout& layout, const Stage& stage) {
  const std::int64_t param_size = common::size_of(job_.param_dtype);
  const std::int64_t master_size = common::size_of(job_.master_dtype);
  const std::int64_t slice = slice_elements(layout, stage);
  if (layout.optimizer_offload) return slice * param_size;
  const std::int64_t held = slice * sharding_ranks(layout.mesh);
  const bool whole = keeps_whole(layout.sharding);
  const std::int64_t copies = whole && param_size != master_size ? held * param_size : 0;
  const std::int64_t masters = (whole && copies == 0 ? held : slice) * master_size;
  return copies + masters + 2 * slice * common::size_of(moment_dtype(job_));
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

double LayoutBounds::least_recompute_time(const Layout& layout, const Stage& stage) {
  if (other_block_ != 0) return 0;
  const Saving& saving = saving_of(layout);
  const BlocksUnderWay under_way = blocks_under_way(model_, layout, stage);
  const double lacking = under_way.passes * saving.saved - room_for_activations(layout, stage);
  if (lacking <= 0) return 0;
  double least = std::numeric_limits<double>::infinity();
  for (const Saving::Way& way : saving.ways) {
    const double freed = under_way.most_of_block * (saving.saved - way.saved);
    if (lacking <= under_way.passes * (saving.saved - way.saved))
      least = std::min(least, lacking / freed * way.recompute);
  }
  return std::isinf(least) ? 0 : std::max(0.0, least);
}

double LayoutBounds::room_for_activations(const Layout& layout, const Stage& stage) {
  return static_cast<double>((cluster_.device.memory - cluster_.reserved_memory).value -
                             state_bytes(layout, stage));
}

std::int64_t LayoutBounds::least_checkpointed(const Layout& layout) {
  const bool checkpoints = layout.activation_checkpointing != ActivationCheckpointing::kNone;
  if (!bounds_model_ || other_block_ != 0 || layout.mesh.expert_parallel > 1 || !checkpoints)
    return 0;
  const Saving& saving = saving_of(layout);
  const bool full = layout.activation_checkpointing == ActivationCheckpointing::kFull;
  const double freed = saving.saved - saving.ways[full ? 1 : 0].saved;
  std::int64_t least = 0;
  for (const std::int64_t index : {std::int64_t{0}, std::int64_t{1}}) {
    if (index >= layout.mesh.sizes[Axis::kPp]) break;
    const Stage stage = stage_at(model_, layout, index);
    double lacking = -room_for_activations(layout, stage);
    const std::vector<ChunkUnderWay> chunks = chunks_with_passes(model_, layout, stage);
    for (const ChunkUnderWay& chunk : chunks) lacking += chunk.block_passes() * saving.saved;
    std::int64_t needed = 0;
    for (const ChunkUnderWay& chunk : chunks) {
      if (lacking <= 0) break;
      const double blocks =
          std::min(std::ceil(lacking / (chunk.passes * freed)), static_cast<double>(chunk.blocks));
      needed = chunk.first_block + static_cast<std::int64_t>(blocks);
      lacking -= blocks * chunk.passes * freed;
    }
    least = std::max(least, needed);
  }
  return least;
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
  const auto [found, is_new] = elements_.try_emplace({tp, has_stages(layout)});
  if (!is_new) return found->second;
  const ModelSpec model = as_stages_hold_it(model_, layout);
  const auto elements = [&](std::int64_t unit) {
    return flat_layout(model, unit_at(model, unit), tp, 1, common::size_of(job_.param_dtype),
                       job_.decay_norms_and_biases)
        .elements;
  };
  found->second = {
      .embedding = elements(embedding_unit(model)),
      .block = std::min(elements(block_unit(model, 0)), elements(block_unit(model, other_block_))),
      .head = model.tie_word_embeddings ? 0 : elements(head_unit(model))};
  return found->second;
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

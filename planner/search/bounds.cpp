#include "planner/search/bounds.h"

#include <algorithm>

#include "planner/cost/priced_program.h"
#include "planner/layout/stage.h"
#include "planner/model/feed_forward_model.h"
#include "planner/model/flat_layout.h"
#include "planner/model/parameter_table.h"
#include "planner/program/schedule.h"

namespace meshplan::planner {
namespace {

std::int64_t has_stages(const Layout& layout) { return layout.mesh.sizes[Axis::kPp] > 1 ? 1 : 0; }

bool keeps_whole(Sharding sharding) {
  return sharding == Sharding::kShardOptimizer || sharding == Sharding::kNoShard;
}

}  // namespace

LayoutBounds::LayoutBounds(const ModelSpec& model, const ClusterSpec& cluster, const Job& job)
    : model_(model),
      cluster_(cluster),
      job_(job),
      bounds_model_(!is_feed_forward(model) && first_other_block(model) == 0) {}

bool LayoutBounds::applies(const Layout& layout) const {
  return bounds_model_ && layout.virtual_stages == 1 && layout.mesh.expert_parallel == 1 &&
         !layout.optimizer_offload;
}

common::Seconds LayoutBounds::compute_time(const Layout& layout) {
  if (!applies(layout)) return {};
  return common::Seconds(least_time(layout, {}));
}

common::Seconds LayoutBounds::time(const Layout& layout) {
  if (!applies(layout)) return {};
  const std::int64_t last = layout.mesh.sizes[Axis::kPp] - 1;
  const std::int64_t slice =
      stage_at(model_, layout, last).blocks * elements_of(layout).block /
      (layout.sharding == Sharding::kNoShard ? 1 : sharding_ranks(layout.mesh));
  // AdamW reads four numbers of an element and writes three.
  const common::Bytes updated(
      slice * (3 * common::size_of(job_.master_dtype) + 4 * common::size_of(moment_dtype(job_))));
  return common::Seconds(least_time(layout, collectives_of(layout))) +
         updated / cluster_.device.memory_bandwidth;
}

double LayoutBounds::least_time(const Layout& layout, const BlockCollectives& collectives) {
  const auto& [embedding, block, head] = passes_of(layout);
  const auto microbatches = static_cast<double>(layout.accumulation);
  // Of the stages before, which a microbatch passes through first and last.
  double before = 0;
  double longest = 0;
  for (const Stage& stage : stages_of(model_, layout)) {
    const auto blocks = static_cast<double>(stage.blocks);
    double forward = blocks * block.forward + (stage.is_first() ? embedding.forward : 0);
    double backward = blocks * block.backward + (stage.is_first() ? embedding.backward : 0) +
                      (stage.is_last() ? head.backward : 0);
    // Copies that are kept may last through the passes ahead.
    const auto ahead = static_cast<double>(warm_up_passes(stage, layout));
    const double gathers = ((microbatches - ahead) * blocks - 2) * collectives.gather;
    const double reductions =
        ((microbatches - 1) * blocks) * collectives.reduce + (blocks - 2) * collectives.last_reduce;
    const double in_order = std::max(0.0, blocks - 2);
    const double last_backward = std::max(backward, in_order * collectives.last_reduce);
    const double messages = 2 * collectives.send;
    if (stage.is_last()) {
      forward = std::max(forward, in_order * collectives.gather);
      backward = std::max(backward, in_order * collectives.reduce);
    }
    // Compute is taken by gradients that are added up, too.
    backward += blocks * collectives.accumulate;
    const double passes = microbatches * forward + (microbatches - 1) * backward + last_backward;
    longest = std::max(longest, before + std::max({passes, gathers, reductions}));
    before += forward + last_backward + messages;
  }
  return longest;
}

LayoutBounds::BlockCollectives LayoutBounds::collectives_of(const Layout& layout) {
  const std::int64_t elements = elements_of(layout).block;
  const std::int64_t gradient = elements * common::size_of(job_.reduce_dtype);
  BlockCollectives block;
  if (layout.mesh.sizes[Axis::kPp] > 1) {
    block.send = collective(layout, CollectiveKind::kSend, Axis::kPp,
                            input_elements(layout) * common::size_of(job_.param_dtype));
  }
  const auto kernel = [&](std::int64_t bytes) {
    return (common::Bytes(bytes) / cluster_.device.memory_bandwidth).value;
  };
  const std::int64_t in_param_dtype = elements * common::size_of(job_.param_dtype);
  const bool whole = accumulates_whole_gradients(layout) || sharding_ranks(layout.mesh) == 1;
  if (whole) {
    block.accumulate = kernel(in_param_dtype + 2 * gradient);
  } else if (job_.param_dtype != job_.reduce_dtype) {
    block.accumulate = kernel(in_param_dtype + gradient);
  }
  if (sharding_ranks(layout.mesh) > 1) {
    if (without_replicas(layout.sharding) == Sharding::kFullShard) {
      block.gather = collective(layout, CollectiveKind::kAllGather, Axis::kDpShard, in_param_dtype);
    }
    block.last_reduce =
        collective(layout, CollectiveKind::kReduceScatter, Axis::kDpShard, gradient);
    if (!accumulates_whole_gradients(layout)) block.reduce = block.last_reduce;
  }
  if (layout.mesh.sizes[Axis::kDpReplicate] > 1) {
    block.last_reduce = std::max(block.last_reduce,
                                 collective(layout, CollectiveKind::kAllReduce, Axis::kDpReplicate,
                                            gradient / sharding_ranks(layout.mesh)));
  }
  return block;
}

common::Bytes LayoutBounds::memory(const Layout& layout) {
  if (!applies(layout)) return {};
  const std::int64_t param_size = common::size_of(job_.param_dtype);
  const std::int64_t master_size = common::size_of(job_.master_dtype);
  const std::int64_t shards = sharding_ranks(layout.mesh);
  const bool whole = keeps_whole(layout.sharding);
  const Elements& elements = elements_of(layout);
  const std::int64_t input = input_elements(layout) * param_size;
  std::int64_t highest = 0;
  const std::int64_t stages = layout.mesh.sizes[Axis::kPp];
  for (const std::int64_t index : {std::int64_t{0}, std::min<std::int64_t>(1, stages - 1)}) {
    const Stage stage = stage_at(model_, layout, index);
    const std::int64_t held = stage.blocks * elements.block +
                              (stage.is_first() ? elements.embedding : 0) +
                              (stage.is_last() ? elements.head : 0);
    const std::int64_t slice = held / shards;
    const std::int64_t copies = whole && param_size != master_size ? held * param_size : 0;
    const std::int64_t masters = (whole && copies == 0 ? held : slice) * master_size;
    const std::int64_t state = copies + masters + 2 * slice * common::size_of(moment_dtype(job_));
    const std::int64_t under_way = std::min(layout.accumulation, stages - index);
    const std::int64_t activations = under_way * stage.blocks * input;
    const std::int64_t gradients = slice * common::size_of(job_.reduce_dtype);
    highest = std::max(highest, state + std::max(activations, gradients));
  }
  return common::Bytes(highest);
}

std::int64_t LayoutBounds::input_elements(const Layout& layout) const {
  const bool splits_tokens = layout.sequence_parallel && layout.mesh.sizes[Axis::kTp] > 1;
  return microbatch_tokens(layout, job_) * model_.hidden_size /
         (splits_tokens ? layout.mesh.sizes[Axis::kTp] : 1);
}

const LayoutBounds::Passes& LayoutBounds::passes_of(const Layout& layout) {
  const AxisSizes& sizes = layout.mesh.sizes;
  const std::array key = {sizes[Axis::kTp], sizes[Axis::kCp], layout.microbatch_size,
                          std::int64_t{layout.sequence_parallel}, has_stages(layout)};
  const auto [found, is_new] = passes_.try_emplace(key);
  if (!is_new) return found->second;
  const StepContext context = make_step_context(model_, job_, layout, cluster_.device.kind);
  const auto seconds = [&](Opcode opcode, Computation computation, std::int64_t unit) {
    const Instruction instruction{.opcode = opcode, .computation = computation, .unit = unit};
    const InstructionCost cost = price_instruction(context, cluster_, instruction).cost;
    return cost.before.total.value + cost.after.total.value;
  };
  const ModelSpec& model = context.model;
  const auto pass = [&](Computation computation, std::int64_t unit) {
    return Pass{.forward = seconds(Opcode::kForward, computation, unit),
                .backward = seconds(Opcode::kBackward, computation, unit)};
  };
  found->second = {
      .embedding = pass(Computation::kEmbedding, embedding_unit(model)),
      .block = pass(Computation::kBlock, block_unit(model, 0)),
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
  found->second = {.embedding = elements(embedding_unit(model)),
                   .block = elements(block_unit(model, 0)),
                   .head = model.tie_word_embeddings ? 0 : elements(head_unit(model))};
  return found->second;
}

double LayoutBounds::collective(const Layout& layout, CollectiveKind kind, Axis axis,
                                std::int64_t bytes) const {
  Operation operation;
  operation.kind = OperationKind::kCollective;
  operation.collective = kind;
  operation.axis = axis;
  operation.bytes = common::Bytes(bytes);
  return price(cluster_, layout.mesh, job_.param_dtype, operation).duration.value;
}

}  // namespace meshplan::planner

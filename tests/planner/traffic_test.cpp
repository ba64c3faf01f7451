#include "planner/cost/traffic.h"

#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>

#include <cmath>

#include "tests/planner/random_plans.h"
#include "tests/planner/unrolled.h"

namespace meshplan::planner {
namespace {

const AxisTraffic& on(const Plan& plan, Axis axis) {
  return plan.estimate.traffic[static_cast<std::size_t>(axis)];
}

/// Sum of one kind of collective over one axis.
std::int64_t bytes_of(const UnrolledStep& step, CollectiveKind kind, Axis axis) {
  std::int64_t bytes = 0;
  for (const Operations& operations : step.operations) {
    for (const Operation& operation : operations) {
      const bool counts = operation.kind == OperationKind::kCollective &&
                          operation.collective == kind && operation.axis == axis;
      if (counts) bytes += operation.bytes.value;
    }
  }
  return bytes;
}

RC_GTEST_PROP(Traffic, IsTheSumOverTheUnrolledProgram, ()) {
  const Plan plan = any_plan();
  Traffic sum{};
  for (const Operations& operations : unrolled_step(plan).operations) {
    for (const Operation& operation : operations) {
      if (operation.kind != OperationKind::kCollective) continue;
      AxisTraffic& axis = sum[static_cast<std::size_t>(operation.axis)];
      axis.bytes += operation.bytes;
      axis.wire_bytes +=
          wire_bytes(operation.collective, operation.bytes, plan.layout.mesh.sizes[operation.axis]);
      axis.time += price(plan.cluster, plan.layout.mesh, plan.job.param_dtype, operation).duration;
      ++axis.operations;
    }
  }
  for (Axis axis : kAxes) {
    const AxisTraffic& walked = sum[static_cast<std::size_t>(axis)];
    RC_ASSERT(on(plan, axis).bytes == walked.bytes);
    RC_ASSERT(on(plan, axis).wire_bytes == walked.wire_bytes);
    RC_ASSERT(on(plan, axis).operations == walked.operations);
    RC_ASSERT(std::abs(on(plan, axis).time.value - walked.time.value) <= 1e-9 * walked.time.value);
  }
}

RC_GTEST_PROP(Traffic, GroupsOfOneCommunicateNothing, ()) {
  const Plan plan = any_plan();
  for (Axis axis : kAxes) {
    const bool alone = plan.layout.mesh.sizes[axis] == 1;
    RC_ASSERT((on(plan, axis).operations == 0) == alone || axis == Axis::kDpReplicate);
    if (alone) RC_ASSERT(on(plan, axis).bytes.value == 0);
  }
}

/// Under full_shard a microbatch gathers embedding and head once (tied: twice, as embedding and as
/// head), blocks twice but those kept, which it gathers once; other strategies gather each unit
/// once a step.
RC_GTEST_PROP(Traffic, GathersFollowTheClosedFormula, ()) {
  const Plan plan = any_plan();
  const UnrolledStep step = unrolled_step(plan);
  const StepContext& c = step.context;
  const std::int64_t blocks = c.model.num_hidden_layers;
  const bool each_pass = without_replicas(c.layout.sharding) == Sharding::kFullShard;
  const std::int64_t gathers = each_pass ? 2 * blocks - c.layout.blocks_kept_gathered : blocks;
  const std::int64_t head = each_pass || !c.model.tie_word_embeddings ? c.head.elements : 0;
  const std::int64_t elements = c.embedding.elements + gathers * c.block.elements + head;
  const std::int64_t times = each_pass ? c.layout.accumulation : 1;
  const bool sharded = c.layout.mesh.sizes[Axis::kDpShard] > 1;
  RC_ASSERT(bytes_of(step, CollectiveKind::kAllGather, Axis::kDpShard) ==
            (sharded ? times * elements * c.param_size : 0));
}

/// Every microbatch reduces every unit's gradient once; kept whole, it is reduced once a step.
RC_GTEST_PROP(Traffic, ReductionsFollowTheClosedFormula, ()) {
  const Plan plan = any_plan();
  const UnrolledStep step = unrolled_step(plan);
  const StepContext& c = step.context;
  const AxisSizes& sizes = c.layout.mesh.sizes;
  const bool tied = c.model.tie_word_embeddings;
  const std::int64_t elements = c.embedding.elements +
                                c.model.num_hidden_layers * c.block.elements +
                                (tied ? 0 : c.head.elements);
  const std::int64_t times = accumulates_whole_gradients(c.layout) ? 1 : c.layout.accumulation;
  RC_ASSERT(bytes_of(step, CollectiveKind::kReduceScatter, Axis::kDpShard) ==
            (sizes[Axis::kDpShard] > 1 ? times * elements * c.reduce_size : 0));
  // The replicas sum each slice once a step, the loss, and the count of tokens.
  const std::int64_t scalars = c.job.loss_normalization == LossNormalization::kGlobalTokens ? 2 : 1;
  const std::int64_t slices = elements / sizes[Axis::kDpShard] * c.reduce_size;
  RC_ASSERT(bytes_of(step, CollectiveKind::kAllReduce, Axis::kDpReplicate) ==
            (sizes[Axis::kDpReplicate] > 1 ? slices + 8 * scalars : 0));
  RC_ASSERT(bytes_of(step, CollectiveKind::kAllReduce, Axis::kDpShard) ==
            (sizes[Axis::kDpShard] > 1 ? 8 * (scalars + 1) : 0));
}

struct TpBytes {
  std::int64_t all_reduce = 0;
  std::int64_t all_gather = 0;
  std::int64_t reduce_scatter = 0;
};

/// A block sums hidden activations over tp twice forward and twice backward, and once more where
/// the attention is computed again; embedding and head once each. Under sequence parallelism each
/// sum is a reduce-scatter; before it a block gathers twice, backward four times and once more with
/// the attention; the embedding gathers its gradient, the head its norm's output.
TpBytes bytes_of_microbatch(const StepContext& c) {
  const std::int64_t hidden = c.tokens * c.model.hidden_size * c.param_size;
  std::int64_t again = 0;
  for (std::int64_t block = 0; block < c.model.num_hidden_layers; ++block)
    again += recompute_of(c.layout, block).attention ? 1 : 0;
  const std::int64_t sums = 4 * c.model.num_hidden_layers + again + 2;
  const auto replicated = [&c](const UnitSizes& sizes) {
    return (sizes.replicated_gradients.end - sizes.replicated_gradients.begin) * c.param_size;
  };
  TpBytes bytes;
  // The loss sums two statistics a token, maximum and (sum, target): 4 + 8 bytes.
  bytes.all_reduce = 12 * c.tokens + c.model.num_hidden_layers * replicated(c.block);
  if (!c.splits_tokens()) {
    bytes.all_reduce += sums * hidden;
    return bytes;
  }
  bytes.all_reduce += replicated(c.head);
  bytes.reduce_scatter = sums * hidden;
  bytes.all_gather = (6 * c.model.num_hidden_layers + again + 2) * hidden;
  return bytes;
}

RC_GTEST_PROP(Traffic, OverTpFollowsTheClosedFormula, ()) {
  const Plan plan = any_plan();
  const UnrolledStep step = unrolled_step(plan);
  const StepContext& c = step.context;
  const bool tp = c.layout.mesh.sizes[Axis::kTp] > 1;
  const TpBytes microbatch = bytes_of_microbatch(c);
  const std::int64_t times = tp ? c.layout.accumulation : 0;
  RC_ASSERT(bytes_of(step, CollectiveKind::kAllReduce, Axis::kTp) ==
            times * microbatch.all_reduce + (tp ? 8 : 0));
  RC_ASSERT(bytes_of(step, CollectiveKind::kAllGather, Axis::kTp) == times * microbatch.all_gather);
  RC_ASSERT(bytes_of(step, CollectiveKind::kReduceScatter, Axis::kTp) ==
            times * microbatch.reduce_scatter);
}

RC_GTEST_PROP(Traffic, OfQAndKNormsIsBothAndThePaddingBetweenThem, ()) {
  Plan plan = any_plan();
  plan.model.qk_norm = true;
  plan.layout.sequence_parallel = false;
  const StepContext c =
      make_step_context(plan.model, plan.job, plan.layout, plan.cluster.device.kind);
  const FlatRange& range = c.block.replicated_gradients;
  const std::int64_t elements = range.end - range.begin;
  // A layer norm has a bias as well.
  const std::int64_t vectors = c.model.norm_bias ? 4 : 2;
  RC_ASSERT(elements >= vectors * c.model.head_dim);
  RC_ASSERT(elements * c.param_size < vectors * (c.model.head_dim * c.param_size + 256));
}

}  // namespace
}  // namespace meshplan::planner

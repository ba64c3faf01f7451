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

/// full_shard: a microbatch gathers embedding and head once (tied: twice, as embedding and as
/// head), blocks twice but those kept, which it gathers once.
RC_GTEST_PROP(Traffic, GathersFollowTheClosedFormula, ()) {
  const Plan plan = any_plan();
  const UnrolledStep step = unrolled_step(plan);
  const StepContext& c = step.context;
  const std::int64_t blocks = c.model.num_hidden_layers;
  const std::int64_t gathers = 2 * blocks - c.layout.blocks_kept_gathered;
  const std::int64_t elements = c.embedding.elements + gathers * c.block.elements + c.head.elements;
  const bool sharded = c.layout.mesh.sizes[Axis::kDpShard] > 1;
  RC_ASSERT(bytes_of(step, CollectiveKind::kAllGather, Axis::kDpShard) ==
            (sharded ? c.layout.accumulation * elements * c.param_size : 0));
}

/// Every microbatch reduces every unit's gradient once, in float32.
RC_GTEST_PROP(Traffic, ReductionsFollowTheClosedFormula, ()) {
  const Plan plan = any_plan();
  const UnrolledStep step = unrolled_step(plan);
  const StepContext& c = step.context;
  const AxisSizes& sizes = c.layout.mesh.sizes;
  const bool tied = c.model.tie_word_embeddings;
  const std::int64_t elements = c.embedding.elements +
                                c.model.num_hidden_layers * c.block.elements +
                                (tied ? 0 : c.head.elements);
  RC_ASSERT(bytes_of(step, CollectiveKind::kReduceScatter, Axis::kDpShard) ==
            (sizes[Axis::kDpShard] > 1 ? c.layout.accumulation * elements * 4 : 0));
  // The replicas sum each slice once a step, the loss, and the count of tokens.
  const std::int64_t scalars = c.job.loss_normalization == LossNormalization::kGlobalTokens ? 2 : 1;
  RC_ASSERT(
      bytes_of(step, CollectiveKind::kAllReduce, Axis::kDpReplicate) ==
      (sizes[Axis::kDpReplicate] > 1 ? elements / sizes[Axis::kDpShard] * 4 + 8 * scalars : 0));
  RC_ASSERT(bytes_of(step, CollectiveKind::kAllReduce, Axis::kDpShard) ==
            (sizes[Axis::kDpShard] > 1 ? 8 * (scalars + 1) : 0));
}

/// A block sums hidden activations over tp twice forward and twice backward, embedding and head
/// once each; the loss sums two statistics a token, maximum and (sum, target): 4 + 8 bytes.
RC_GTEST_PROP(Traffic, TpAllReducesFollowTheClosedFormula, ()) {
  const Plan plan = any_plan();
  const UnrolledStep step = unrolled_step(plan);
  const StepContext& c = step.context;
  const std::int64_t tokens = c.layout.microbatch_size * c.job.seq_length;
  const std::int64_t hidden = tokens * c.model.hidden_size * c.param_size;
  const std::int64_t norms =
      c.model.qk_norm ? c.block.replicated_gradients.end - c.block.replicated_gradients.begin : 0;
  const std::int64_t block = 4 * hidden + norms * c.param_size;
  const std::int64_t microbatch = c.model.num_hidden_layers * block + 2 * hidden + 12 * tokens;
  RC_ASSERT(bytes_of(step, CollectiveKind::kAllReduce, Axis::kTp) ==
            (c.layout.mesh.sizes[Axis::kTp] > 1 ? c.layout.accumulation * microbatch + 8 : 0));
}

RC_GTEST_PROP(Traffic, OfQAndKNormsIsBothAndThePaddingBetweenThem, ()) {
  Plan plan = any_plan();
  plan.model.qk_norm = true;
  const StepContext c =
      make_step_context(plan.model, plan.job, plan.layout, plan.cluster.device.kind);
  const FlatRange& range = c.block.replicated_gradients;
  const std::int64_t elements = range.end - range.begin;
  RC_ASSERT(elements >= 2 * c.model.head_dim);
  RC_ASSERT(elements * c.param_size < 2 * (c.model.head_dim * c.param_size + 256));
}

}  // namespace
}  // namespace meshplan::planner

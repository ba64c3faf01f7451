#include <fmt/format.h>
#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>

#include <algorithm>

#include "planner/cost/memory.h"
#include "tests/planner/random_plans.h"
#include "tests/planner/unrolled.h"

/// Float8 multiplies, async tp and the offloaded optimizer against the same step without them.
namespace meshplan::planner {
namespace {

Plan h100_plan(std::int64_t tp, std::int64_t dp_shard) {
  Plan plan;
  plan.model = load_model("llama-3-8b");
  plan.cluster = load_cluster("h100-sxm", {.nodes = tp * dp_shard / 8});
  plan.job.seq_length = 8192;
  plan.job.param_dtype = common::DataType::kBfloat16;
  plan.layout = layout_of({.dp_shard = dp_shard, .tp = tp});
  plan.layout.mesh.ranks_per_node = 8;
  plan.layout.sequence_parallel = tp > 1;
  plan.layout.microbatch_size = 1;
  plan.layout.loss_chunks = 8;
  return plan;
}

Estimate priced(const Plan& plan) {
  const Estimate priced = estimate(plan.model, plan.cluster, plan.job, plan.layout);
  EXPECT_TRUE(priced.violations.empty()) << to_string(priced.violations);
  return priced;
}

const AxisTraffic& of_axis(const Estimate& estimate, Axis axis) {
  return estimate.traffic[static_cast<std::size_t>(axis)];
}

bool is_matmul(const Operation& operation) {
  return operation.kind == OperationKind::kKernel && operation.kernel == KernelKind::kMatmul;
}

TEST(Float8, IsOfTheMultipliesOfBlocksAlone) {
  Plan plan = h100_plan(2, 4);
  plan.job.matmul_dtype = common::DataType::kFloat8;
  const UnrolledStep step = unrolled_step(plan);
  int float8 = 0;
  for (std::size_t i = 0; i < step.instructions.size(); ++i) {
    const Operations& operations = step.operations[i];
    for (std::size_t o = 0; o < operations.size(); ++o) {
      if (!is_matmul(operations[o])) continue;
      EXPECT_EQ(operations[o].float8, step.instructions[i].computation == Computation::kBlock);
      if (!operations[o].float8) continue;
      ++float8;
      // Two operands are found the largest magnitude of, and cast, right before.
      ASSERT_GE(o, 4u);
      for (std::size_t before = 1; before <= 4; ++before)
        EXPECT_EQ(operations[o - before].kernel, KernelKind::kElementwise);
    }
  }
  // Four linear layers, each thrice.
  EXPECT_EQ(float8, 12 * plan.model.num_hidden_layers);
}

TEST(Float8, LeavesWhat16DoesNotDivide) {
  Plan plan = h100_plan(2, 4);
  plan.model.intermediate_size = 14336 + 8;
  plan.job.matmul_dtype = common::DataType::kFloat8;
  for (const Operations& operations : unrolled_step(plan).operations) {
    for (const Operation& operation : operations) {
      if (!is_matmul(operation)) continue;
      const bool divides = operation.m % 16 == 0 && operation.n % 16 == 0 && operation.k % 16 == 0;
      EXPECT_TRUE(divides || !operation.float8);
    }
  }
}

TEST(Float8, DoesTheSameFlopsInLessTime) {
  Plan plan = h100_plan(2, 4);
  const Estimate before = priced(plan);
  plan.job.matmul_dtype = common::DataType::kFloat8;
  const Estimate after = priced(plan);
  EXPECT_DOUBLE_EQ(after.hardware_flops.value, before.hardware_flops.value);
  EXPECT_LT(after.compute_time.value, before.compute_time.value);
  // The casts are not free: far from twice as fast.
  EXPECT_GT(after.compute_time.value, 0.6 * before.compute_time.value);
  EXPECT_EQ(after.traffic[0].wire_bytes, before.traffic[0].wire_bytes);
  fmt::print("llama-3-8b in float8: compute {:.3f} of bfloat16's\n",
             after.compute_time.value / before.compute_time.value);
}

RC_GTEST_PROP(AsyncTp, SendsTheSameBytesAndDoesTheSameFlops, ()) {
  Plan plan = any_plan();
  AxisSizes& sizes = plan.layout.mesh.sizes;
  sizes[Axis::kTp] = *rc::gen::element<std::int64_t>(2, 4);
  plan.job.seq_length = 64;
  plan.layout.loss_chunks = 1;
  plan.layout.sequence_parallel = true;
  plan.layout.mesh.ranks_per_node = world_size(plan.layout.mesh);
  plan.cluster.nodes = 1;
  plan.cluster.devices_per_node = plan.layout.mesh.ranks_per_node;
  const Estimate before = estimate(plan.model, plan.cluster, plan.job, plan.layout);
  RC_ASSERT(before.violations.empty());
  plan.layout.async_tp = true;
  const Estimate after = estimate(plan.model, plan.cluster, plan.job, plan.layout);
  RC_ASSERT(after.violations.empty());
  RC_ASSERT(of_axis(after, Axis::kTp).wire_bytes == of_axis(before, Axis::kTp).wire_bytes);
  RC_ASSERT(of_axis(after, Axis::kTp).operations > of_axis(before, Axis::kTp).operations);
  RC_ASSERT(std::abs(after.hardware_flops.value / before.hardware_flops.value - 1) < 1e-12);
  for (Axis axis : {Axis::kDpShard, Axis::kDpReplicate})
    RC_ASSERT(of_axis(after, axis).bytes == of_axis(before, axis).bytes);
}

TEST(AsyncTp, HidesMostOfTheMessagesOfALargeModel) {
  Plan plan = h100_plan(8, 1);
  plan.model = load_model("llama-3-70b");
  plan.cluster.overlap = 1;
  plan.layout.microbatch_size = 2;
  const Estimate before = priced(plan);
  plan.layout.async_tp = true;
  const Estimate after = priced(plan);
  const double hidden =
      1 - of_axis(after, Axis::kTp).exposed.value / of_axis(before, Axis::kTp).exposed.value;
  fmt::print(
      "llama-3-70b, tp=8: {:.3f} of the exposed time over tp hidden, step {:.4f} of what it "
      "was\n",
      hidden, after.step_time.value / before.step_time.value);
  EXPECT_GT(hidden, 0.5);
  EXPECT_LT(after.step_time.value, before.step_time.value);
}

/// The closed form of a gather in pieces: a piece is multiplied while the next one comes.
TEST(AsyncTp, ExposesWhatMessagesTakeLongerThanMultiplies) {
  Plan plan = h100_plan(4, 2);
  plan.cluster.overlap = 1;
  for (const double slower : {0.01, 1.0, 30.0}) {
    const StepContext context =
        make_step_context(plan.model, plan.job, plan.layout, DeviceKind::kGpu);
    Plan of_links = plan;
    scale_node_bandwidth(of_links.cluster, 1 / slower);
    of_links.layout.async_tp = true;
    StepContext cut = context;
    cut.layout.async_tp = true;
    const Instruction forward{.opcode = Opcode::kForward,
                              .computation = Computation::kBlock,
                              .unit = block_unit(plan.model, 0)};
    const PricedInstruction instruction = price_instruction(cut, of_links.cluster, forward);
    // Of each multiply: the pieces' messages and the pieces.
    double expected = 0;
    double message = 0;
    double barriers = 0;
    std::vector<double> pieces;
    for (const auto& [operation, price] : instruction.operations) {
      if (operation.kind == OperationKind::kCollective)
        (operation.bytes.value == 0 ? barriers : message) =
            (operation.bytes.value == 0 ? barriers : 0) + price.duration.value;
      if (!is_matmul(operation)) continue;
      pieces.push_back(price.duration.value);
    }
    ASSERT_EQ(pieces.size(), 16u);
    for (std::size_t multiply = 0; multiply < 4; ++multiply)
      expected += 3 * std::max(0.0, message - pieces[4 * multiply]);
    const double exposed =
        instruction.cost.before.exposed[static_cast<std::size_t>(Axis::kTp)].value - barriers;
    EXPECT_NEAR(exposed, expected, 1e-9 + 1e-6 * expected) << slower;
  }
}

TEST(OptimizerOffload, MovesMastersAndMomentsToTheHost) {
  Plan plan = h100_plan(1, 8);
  plan.layout.mesh.sizes[Axis::kDpShard] = 8;
  const Estimate before = priced(plan);
  plan.layout.optimizer_offload = true;
  const Estimate after = priced(plan);
  const StepContext context =
      make_step_context(plan.model, plan.job, plan.layout, DeviceKind::kGpu);
  const std::int64_t elements = context.embedding.shard_elements + context.head.shard_elements +
                                plan.model.num_hidden_layers * context.block.shard_elements;
  const auto of = [](const Estimate& estimate, MemoryClass memory) {
    return estimate.memory.breakdown[static_cast<std::size_t>(memory)].value;
  };
  EXPECT_EQ(of(before, MemoryClass::kOptimizer), 8 * elements);
  EXPECT_EQ(of(after, MemoryClass::kOptimizer), 0);
  EXPECT_EQ(of(after, MemoryClass::kParameters), 2 * elements);
  EXPECT_EQ(before.memory.host.value, 0);
  // Master, two moments and gradient in float32, parameters to copy up in bfloat16.
  EXPECT_EQ(after.memory.host.value, 18 * elements);
  const auto number = static_cast<double>(elements);
  const double copies = (4 + 2) * number / plan.cluster.device.host_bandwidth.value;
  const double update = 8 * (4 + 8 + 16 + 2) * number / plan.cluster.host_memory_bandwidth.value;
  const double longer = after.step_time.value - before.step_time.value;
  // The update on the device, which it is instead of, takes some milliseconds.
  EXPECT_NEAR(longer, copies + update, 0.05 * (copies + update));
}

TEST(OptimizerOffload, IsRefusedWhereTheHostIsTooSmall) {
  Plan plan = h100_plan(1, 8);
  plan.layout.optimizer_offload = true;
  plan.cluster.host_memory = common::Bytes(100'000'000'000);
  const Estimate refused = estimate(plan.model, plan.cluster, plan.job, plan.layout);
  ASSERT_EQ(refused.violations.size(), 1u);
  EXPECT_EQ(refused.violations[0].code, "host_memory_fits");
  plan.cluster.host_memory = {};
  EXPECT_TRUE(estimate(plan.model, plan.cluster, plan.job, plan.layout).violations.empty());
}

TEST(MomentDtype, HalvesTheMoments) {
  Plan plan = h100_plan(1, 8);
  const Estimate before = priced(plan);
  plan.job.moment_dtype = common::DataType::kBfloat16;
  const Estimate after = priced(plan);
  const auto optimizer = static_cast<std::size_t>(MemoryClass::kOptimizer);
  EXPECT_EQ(2 * after.memory.breakdown[optimizer].value, before.memory.breakdown[optimizer].value);
  EXPECT_LT(after.step_time.value, before.step_time.value);
}

}  // namespace
}  // namespace meshplan::planner

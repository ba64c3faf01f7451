#include "planner/cost/memory.h"

#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>

#include "tests/planner/random_plans.h"
#include "tests/planner/unrolled.h"

namespace meshplan::planner {
namespace {

using common::Bytes;

struct WalkedPeak {
  MemoryBreakdown breakdown{};
  std::string instruction;
};

std::size_t index_of(MemoryClass memory) { return static_cast<std::size_t>(memory); }

/// The peak by a plain walk over every instruction of the step.
WalkedPeak walked_peak(const UnrolledStep& step) {
  MemoryBreakdown now = persistent_breakdown(step.context);
  WalkedPeak peak{now, ""};
  for (std::size_t i = 0; i < step.instructions.size(); ++i) {
    for (const Operation& operation : step.operations[i]) {
      if (!changes_memory(operation)) continue;
      now[index_of(operation.memory)] += memory_change(operation);
      if (total(now) > total(peak.breakdown)) {
        peak = {now, describe(step.context.model, step.instructions[i])};
      }
    }
  }
  return peak;
}

RC_GTEST_PROP(Memory, PeakOfTheRunLengthProgramIsThatOfThePlainWalk, ()) {
  const Plan plan = any_plan();
  const WalkedPeak peak = walked_peak(unrolled_step(plan));
  RC_ASSERT(plan.estimate.memory.breakdown == peak.breakdown);
  RC_ASSERT(plan.estimate.memory.peak_instruction == peak.instruction);
  RC_ASSERT(plan.estimate.memory.peak_allocated == total(peak.breakdown));
}

RC_GTEST_PROP(Memory, EveryStepFreesWhatItAllocates, ()) {
  const UnrolledStep step = unrolled_step(any_plan());
  MemoryBreakdown held{};
  for (const Operations& operations : step.operations) {
    for (const Operation& operation : operations) {
      if (!changes_memory(operation)) continue;
      RC_ASSERT(operation.bytes.value > 0);
      held[index_of(operation.memory)] += memory_change(operation);
      RC_ASSERT(held[index_of(operation.memory)].value >= 0);
    }
  }
  RC_ASSERT(held == MemoryBreakdown{});
}

RC_GTEST_PROP(Memory, EveryMicrobatchLeavesBehindGradientsAlone, ()) {
  const UnrolledStep step = unrolled_step(any_plan());
  MemoryBreakdown held{};
  for (std::size_t i = 0; i < step.instructions.size(); ++i) {
    for (const Operation& operation : step.operations[i]) {
      if (changes_memory(operation)) held[index_of(operation.memory)] += memory_change(operation);
    }
    const bool ends = step.instructions[i].opcode == Opcode::kReduceGradients &&
                      step.instructions[i].unit == embedding_unit(step.context.model);
    if (!ends) continue;
    for (MemoryClass memory :
         {MemoryClass::kActivations, MemoryClass::kLogits, MemoryClass::kTemporaries}) {
      RC_ASSERT(held[index_of(memory)] == Bytes(0));
    }
    if (without_replicas(step.context.layout.sharding) == Sharding::kFullShard)
      RC_ASSERT(held[index_of(MemoryClass::kGatheredParameters)] == Bytes(0));
  }
}

RC_GTEST_PROP(Memory, BreakdownSumsToThePeak, ()) {
  const MemoryEstimate memory = any_plan().estimate.memory;
  Bytes sum;
  for (Bytes bytes : memory.breakdown) {
    RC_ASSERT(bytes.value >= 0);
    sum += bytes;
  }
  RC_ASSERT(sum == memory.peak_allocated);
  RC_ASSERT(memory.peak_reserved >= memory.peak_allocated);
  RC_ASSERT(memory.peak_device >= memory.peak_reserved);
}

/// Sharding over more ranks keeps less; only the padding of each slice to 256 bytes can grow.
RC_GTEST_PROP(Memory, MoreShardsNeverRaiseParametersAndOptimizerBeyondPadding, ()) {
  Plan plan = any_plan();
  plan.layout.sharding = Sharding::kFullShard;
  plan.job.master_dtype = common::DataType::kFloat32;
  const auto held = [&plan](std::int64_t dp_shard) {
    plan.layout.mesh.sizes[Axis::kDpShard] = dp_shard;
    const StepContext context =
        make_step_context(plan.model, plan.job, plan.layout, plan.cluster.device.kind);
    const PersistentMemory memory = persistent_memory(context);
    RC_ASSERT(memory.optimizer == memory.parameters * 2);
    return (memory.parameters + memory.optimizer).value;
  };
  const auto dp_shard = *rc::gen::inRange<std::int64_t>(1, 64);
  const auto more = *rc::gen::inRange<std::int64_t>(dp_shard, 65);
  // A slice of each unit is padded by less than 128 elements of param_dtype: 3 x 4 bytes each.
  const std::int64_t padding = unit_count(plan.model) * 128 * 12;
  RC_ASSERT(held(more) <= held(dp_shard) + padding);
  RC_ASSERT(held(dp_shard) >=
            12 * parameter_count(plan.model) / (dp_shard * plan.layout.mesh.sizes[Axis::kTp]));
}

RC_GTEST_PROP(Memory, GatheredCopiesAreTheKeptBlocksAndTwoAtMost, ()) {
  const UnrolledStep step = unrolled_step(any_plan());
  const StepContext& c = step.context;
  if (c.parameter_copy() != ParameterCopy::kGathered) {
    for (const Operations& operations : step.operations) {
      for (const Operation& operation : operations) {
        RC_ASSERT(operation.memory != MemoryClass::kGatheredParameters);
      }
    }
    return;
  }
  const std::int64_t largest =
      std::max({c.embedding.elements, c.block.elements, c.head.elements}) * c.param_size;
  const bool each_pass = without_replicas(c.layout.sharding) == Sharding::kFullShard;
  const std::int64_t blocks =
      each_pass ? c.layout.blocks_kept_gathered + 1 : c.model.num_hidden_layers;
  const std::int64_t kept = blocks * c.block.elements * c.param_size + 2 * largest;
  std::int64_t held = 0;
  for (const Operations& operations : step.operations) {
    for (const Operation& operation : operations) {
      if (operation.memory != MemoryClass::kGatheredParameters || !changes_memory(operation)) {
        continue;
      }
      held += memory_change(operation).value;
      RC_ASSERT(held <= kept);
    }
  }
}

/// One block, one rank, float32, worked by hand: 2 x 128 tokens, hidden 64, heads 8 and 4 of 16,
/// intermediate 256, vocabulary 512.
TEST(Memory, OfOneRankIsTheHandWorkedSum) {
  ModelSpec model = small_model(1);
  const Layout layout = layout_of({});
  const Plan plan = plan_of(model, cpu_cluster(layout), small_job(), layout);
  const MemoryBreakdown& breakdown = plan.estimate.memory.breakdown;
  const auto bytes = [&](MemoryClass memory) { return breakdown[index_of(memory)].value; };
  // Block: q 128x64, k and v 64x64, o 64x128, gate and up 256x64, down 64x256, biases 256, norms
  // 128; embedding and head 512x64 each, final norm 64.
  const std::int64_t block = (128 + 64 + 64 + 128 + 3 * 256) * 64 + 256 + 128;
  const std::int64_t parameters = 4 * (block + 2 * 512 * 64 + 64);
  EXPECT_EQ(bytes(MemoryClass::kParameters), parameters);
  EXPECT_EQ(bytes(MemoryClass::kOptimizer), 2 * parameters);
  EXPECT_EQ(bytes(MemoryClass::kGatheredParameters), 0);
  EXPECT_EQ(plan.estimate.memory.peak_instruction, "loss head");
  const std::int64_t tokens = 256;
  // Logits, and 12 bytes of statistics a token.
  EXPECT_EQ(bytes(MemoryClass::kLogits), tokens * (4 * 512 + 12));
  // x, qkv, attention output and its log-sum-exp, x2, gate and up, two norm statistics, block
  // output.
  EXPECT_EQ(bytes(MemoryClass::kActivations),
            tokens * 4 * (64 + 256 + 128 + 8 + 64 + 512 + 2 + 64));
  EXPECT_EQ(bytes(MemoryClass::kGradients), 4 * (512 * 64 + 64));
  // Rotary table, ids and labels; norm output, its gradient and its statistics.
  EXPECT_EQ(bytes(MemoryClass::kTemporaries),
            4 * 128 * 16 + 16 * tokens + 4 * tokens * (64 + 64 + 1));
}

}  // namespace
}  // namespace meshplan::planner

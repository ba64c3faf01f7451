#include "planner/layout/stage.h"

#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>

#include <map>
#include <set>
#include <utility>

#include "planner/cost/memory.h"
#include "planner/cost/priced_program.h"
#include "tests/planner/random_plans.h"
#include "tests/planner/unrolled.h"

namespace meshplan::planner {
namespace {

Layout layout_of_stages(std::int64_t pp) {
  Layout layout = layout_of({});
  layout.mesh.sizes[Axis::kPp] = pp;
  return layout;
}

RC_GTEST_PROP(Stage, HoldsConsecutiveBlocksAndOneMoreThanTheFirstAtMost, ()) {
  const auto blocks = *rc::gen::inRange<std::int64_t>(1, 200);
  const auto pp = *rc::gen::inRange<std::int64_t>(1, blocks + 1);
  std::int64_t reached = 0;
  for (const Stage& stage : stages_of(small_model(blocks), layout_of_stages(pp))) {
    RC_ASSERT(stage.first_block == reached);
    RC_ASSERT(stage.blocks == blocks / pp || stage.blocks == blocks / pp + 1);
    reached += stage.blocks;
  }
  RC_ASSERT(reached == blocks);
  RC_ASSERT(stage_at(small_model(blocks), layout_of_stages(pp), 0).blocks == blocks / pp);
}

RC_GTEST_PROP(Stage, HasAChunkOfEachRoundOfAllStages, ()) {
  Layout layout = layout_of_stages(*rc::gen::inRange<std::int64_t>(2, 9));
  const std::int64_t pp = layout.mesh.sizes[Axis::kPp];
  layout.virtual_stages = *rc::gen::inRange<std::int64_t>(1, 5);
  const ModelSpec model =
      small_model(*rc::gen::inRange<std::int64_t>(pp * layout.virtual_stages, 200));
  ChunkPlace place;
  std::int64_t reached = 0;
  while (reached < model.num_hidden_layers) {
    const Chunk chunk =
        chunks_of(model, layout, place.stage)[static_cast<std::size_t>(place.chunk)];
    RC_ASSERT(chunk.first_block == reached);
    RC_ASSERT(chunk.blocks >= 1);
    reached += chunk.blocks;
    const ChunkPlace next = next_chunk(place, pp);
    RC_ASSERT(previous_chunk(next, pp) == place);
    if (reached == model.num_hidden_layers)
      RC_ASSERT(place == (ChunkPlace{pp - 1, layout.virtual_stages - 1}));
    place = next;
  }
}

TEST(Stage, GivesTheEndsOfLlama405BOneBlockLess) {
  const auto stages = stages_of(load_model("llama-3.1-405b"), layout_of_stages(16));
  EXPECT_EQ(stages.front().blocks, 7);
  EXPECT_EQ(stages.back().blocks, 7);
  for (std::size_t s = 1; s + 1 < stages.size(); ++s) EXPECT_EQ(stages[s].blocks, 8);
}

/// Blocks by their number in the model, whatever stage has them.
RC_GTEST_PROP(Stage, TogetherRunEachPassOfEachBlockOncePerMicrobatch, ()) {
  const Plan plan = any_plan_over_all_axes();
  const std::int64_t stages = plan.layout.mesh.sizes[Axis::kPp];
  std::map<std::pair<Opcode, std::int64_t>, std::set<std::int64_t>> passes;
  std::map<Opcode, std::int64_t> transfers;
  for (std::int64_t stage = 0; stage < stages; ++stage) {
    const UnrolledStep step = unrolled_step(plan, stage);
    for (const Instruction& instruction : step.instructions) {
      ++transfers[instruction.opcode];
      if (instruction.computation != Computation::kBlock) continue;
      const Unit unit = unit_at(step.context.model, instruction.unit);
      RC_ASSERT(
          passes[std::pair(instruction.opcode, unit.block)].insert(instruction.microbatch).second);
    }
  }
  RC_ASSERT(std::ssize(passes) == 2 * plan.model.num_hidden_layers);
  for (const auto& [pass, microbatches] : passes)
    RC_ASSERT(std::ssize(microbatches) == plan.layout.accumulation);
  const std::int64_t chunks = stages * plan.layout.virtual_stages;
  RC_ASSERT(transfers[Opcode::kSendActivations] == 2 * (chunks - 1) * plan.layout.accumulation);
  RC_ASSERT(transfers[Opcode::kReceiveActivations] == transfers[Opcode::kSendActivations]);
}

RC_GTEST_PROP(Stage, PeakOfItsRunLengthProgramIsThatOfThePlainWalk, ()) {
  const Plan plan = any_plan_over_all_axes();
  const auto stage = *rc::gen::inRange<std::int64_t>(0, plan.layout.mesh.sizes[Axis::kPp]);
  const UnrolledStep step = unrolled_step(plan, stage);
  common::Bytes held = total(persistent_breakdown(step.context));
  const common::Bytes before = held;
  common::Bytes highest = held;
  for (const Operations& operations : step.operations) {
    for (const Operation& operation : operations) {
      if (!changes_memory(operation)) continue;
      held += memory_change(operation);
      highest = std::max(highest, held);
    }
  }
  RC_ASSERT(held == before);
  const PricedProgram program = price_program(
      step.context, plan.cluster, build_program(plan.model, plan.job, plan.layout, stage));
  RC_ASSERT(total(memory_peak(step.context, program).breakdown) == highest);
}

}  // namespace
}  // namespace meshplan::planner

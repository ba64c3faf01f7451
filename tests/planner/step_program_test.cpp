#include "planner/program/step_program.h"

#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>

#include <algorithm>
#include <set>

#include "planner/model/parameter_table.h"
#include "tests/planner/plans.h"

namespace meshplan::planner {
namespace {

struct Case {
  ModelSpec model;
  Job job;
  Layout layout;
};

Case any_case() {
  Case c{small_model(*rc::gen::inRange<std::int64_t>(1, 12)), small_job(), {}};
  c.model.tie_word_embeddings = *rc::gen::arbitrary<bool>();
  c.model.qk_norm = *rc::gen::arbitrary<bool>();
  c.job.max_grad_norm = *rc::gen::element(0.0, 1.0);
  c.job.loss_normalization =
      *rc::gen::element(LossNormalization::kGlobalTokens, LossNormalization::kPerRank);
  c.layout = layout_of({.dp_replicate = *rc::gen::element<std::int64_t>(1, 2),
                        .dp_shard = *rc::gen::element<std::int64_t>(1, 2, 4),
                        .tp = *rc::gen::element<std::int64_t>(1, 2)});
  c.layout.accumulation = *rc::gen::inRange<std::int64_t>(1, 6);
  c.layout.blocks_kept_gathered = *rc::gen::inRange<std::int64_t>(0, c.model.num_hidden_layers + 1);
  return c;
}

std::vector<Instruction> unrolled(const Case& c) {
  return unroll(build_program(c.model, c.job, c.layout));
}

RC_GTEST_PROP(StepProgram, WaitsNameTheGatherOfTheirUnit, ()) {
  const Case c = any_case();
  const std::vector<Instruction> program = unrolled(c);
  for (std::size_t i = 0; i < program.size(); ++i) {
    const Instruction& instruction = program[i];
    const bool computes =
        instruction.opcode == Opcode::kForward || instruction.opcode == Opcode::kLoss ||
        (instruction.opcode == Opcode::kBackward && instruction.computation == Computation::kBlock);
    if (!computes) continue;
    RC_ASSERT(instruction.waits[0] > 0);
    const Instruction& awaited = program[i - static_cast<std::size_t>(instruction.waits[0])];
    RC_ASSERT(awaited.opcode == Opcode::kGatherParameters);
    RC_ASSERT(awaited.unit == instruction.unit);
    RC_ASSERT(awaited.microbatch == instruction.microbatch);
  }
}

RC_GTEST_PROP(StepProgram, ComputesOnlyOnGatheredUnits, ()) {
  const std::vector<Instruction> program = unrolled(any_case());
  std::set<std::int64_t> gathered;
  for (const Instruction& instruction : program) {
    if (instruction.opcode == Opcode::kGatherParameters) {
      RC_ASSERT(gathered.insert(instruction.unit).second);
      RC_ASSERT(gathered.size() <= program.size());
    } else if (instruction.opcode == Opcode::kReleaseParameters) {
      RC_ASSERT(gathered.erase(instruction.unit) == 1U);
    } else if (instruction.opcode == Opcode::kForward || instruction.opcode == Opcode::kLoss) {
      RC_ASSERT(gathered.contains(instruction.unit));
    }
  }
  RC_ASSERT(gathered.empty());
}

RC_GTEST_PROP(StepProgram, EveryReductionIsRetiredOnceByTheNextOne, ()) {
  const Case c = any_case();
  const std::vector<Instruction> program = unrolled(c);
  const Instruction* last = nullptr;
  std::int64_t reductions = 0;
  for (std::size_t i = 0; i < program.size(); ++i) {
    const Instruction& instruction = program[i];
    if (instruction.opcode != Opcode::kReduceGradients &&
        instruction.opcode != Opcode::kGradientNorm) {
      RC_ASSERT(instruction.retires == kNoUnit);
      continue;
    }
    RC_ASSERT(instruction.retires == (last == nullptr ? kNoUnit : last->unit));
    if (last != nullptr) {
      RC_ASSERT(instruction.retires_place == last->place);
      RC_ASSERT(&program[i - static_cast<std::size_t>(instruction.waits[1])] == last);
    }
    last = &instruction;
    reductions += instruction.opcode == Opcode::kReduceGradients ? 1 : 0;
  }
  RC_ASSERT(reductions == c.layout.accumulation * unit_count(c.model));
}

/// A repetition is priced by the first of its segment, so it must be on units of the same kinds.
RC_GTEST_PROP(StepProgram, RepetitionsAreOnUnitsOfOneKind, ()) {
  const Case c = any_case();
  const auto kind_of = [&c](std::int64_t unit) { return unit_at(c.model, unit).kind; };
  for (const Phase& phase : build_program(c.model, c.job, c.layout).phases) {
    for (const Segment& segment : phase.segments) {
      for (const Instruction& instruction : segment.instructions) {
        const std::int64_t moved = (segment.count - 1) * segment.unit_stride;
        for (std::int64_t unit : {instruction.unit, instruction.retires}) {
          if (unit != kNoUnit) RC_ASSERT(kind_of(unit) == kind_of(unit + moved));
        }
      }
    }
  }
}

RC_GTEST_PROP(StepProgram, GradientsAreReducedAfterTheyAreComputedAndSummedOverTp, ()) {
  const Case c = any_case();
  const std::vector<Instruction> program = unrolled(c);
  const bool sums = c.model.qk_norm && c.layout.mesh.sizes[Axis::kTp] > 1;
  for (std::size_t i = 0; i < program.size(); ++i) {
    if (program[i].opcode != Opcode::kReduceGradients) continue;
    const Instruction& awaited = program[i - static_cast<std::size_t>(program[i].waits[0])];
    RC_ASSERT(awaited.unit == program[i].unit);
    RC_ASSERT(awaited.microbatch == program[i].microbatch);
    const bool block = unit_at(c.model, program[i].unit).kind == UnitKind::kBlock;
    if (block && sums) {
      RC_ASSERT(awaited.opcode == Opcode::kReduceReplicatedGradients);
    } else {
      RC_ASSERT(awaited.opcode == Opcode::kBackward || awaited.opcode == Opcode::kLoss);
    }
  }
}

RC_GTEST_PROP(StepProgram, EachBlockRunsForwardAndBackwardOncePerMicrobatch, ()) {
  const Case c = any_case();
  std::multiset<std::pair<std::int64_t, std::int64_t>> forward;
  std::multiset<std::pair<std::int64_t, std::int64_t>> backward;
  for (const Instruction& instruction : unrolled(c)) {
    if (instruction.computation != Computation::kBlock) continue;
    (instruction.opcode == Opcode::kForward ? forward : backward)
        .insert({instruction.microbatch, instruction.unit});
  }
  RC_ASSERT(forward == backward);
  RC_ASSERT(static_cast<std::int64_t>(forward.size()) ==
            c.layout.accumulation * c.model.num_hidden_layers);
  for (const auto& entry : forward) RC_ASSERT(forward.count(entry) == 1U);
}

TEST(StepProgram, LengthDoesNotGrowWithBlocksOrAccumulation) {
  const auto stored = [](std::int64_t blocks, std::int64_t accumulation) {
    Layout layout = layout_of({.dp_shard = 2, .tp = 2});
    layout.accumulation = accumulation;
    std::size_t instructions = 0;
    for (const Phase& phase : build_program(small_model(blocks), small_job(), layout).phases) {
      for (const Segment& segment : phase.segments) instructions += segment.instructions.size();
    }
    return instructions;
  };
  EXPECT_EQ(stored(8, 4), stored(126, 4));
  EXPECT_EQ(stored(8, 4), stored(8, 64));
}

TEST(StepProgram, OfTwoBlocksReadsAsWritten) {
  Job job = small_job();
  job.loss_normalization = LossNormalization::kPerRank;
  const ModelSpec model = small_model(2);
  std::string text;
  for (const Instruction& instruction :
       unroll(build_program(model, job, layout_of({.dp_shard = 2})))) {
    text += describe(model, instruction) + "\n";
  }
  EXPECT_EQ(text,
            "gather_parameters embedding\n"
            "gather_parameters block 0\n"
            "forward embedding\n"
            "release_parameters embedding\n"
            "gather_parameters block 1\n"
            "forward block 0\n"
            "release_parameters block 0\n"
            "gather_parameters head\n"
            "forward block 1\n"
            "loss head\n"
            "release_parameters head\n"
            "reduce_gradients head\n"
            "gather_parameters block 0\n"
            "backward block 1\n"
            "release_parameters block 1\n"
            "reduce_gradients block 1\n"
            "backward block 0\n"
            "release_parameters block 0\n"
            "reduce_gradients block 0\n"
            "backward embedding\n"
            "reduce_gradients embedding\n"
            "gradient_norm\n"
            "optimizer_step\n"
            "report_loss\n");
}

}  // namespace
}  // namespace meshplan::planner

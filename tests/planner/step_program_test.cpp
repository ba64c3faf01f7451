#include "planner/program/step_program.h"

#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>

#include <algorithm>
#include <map>
#include <set>

#include "planner/model/parameter_table.h"
#include "tests/planner/random_plans.h"

namespace meshplan::planner {
namespace {

struct Case {
  ModelSpec model;
  Job job;
  Layout layout;
};

Case any_case() {
  Case c{any_model(), any_job(), {}};
  c.layout = any_layout(c.model, c.job);
  c.layout.prefetch_depth = *rc::gen::inRange<std::int64_t>(0, kMaxPrefetchDepth + 1);
  return c;
}

std::vector<Instruction> unrolled(const Case& c) {
  return unroll(build_program(c.model, c.job, c.layout));
}

bool reads_weights(const Instruction& instruction) {
  return instruction.opcode == Opcode::kForward || instruction.opcode == Opcode::kLoss ||
         (instruction.opcode == Opcode::kBackward &&
          instruction.computation == Computation::kBlock);
}

RC_GTEST_PROP(StepProgram, TheFirstComputationOnAUnitWaitsForItsGather, ()) {
  const std::vector<Instruction> program = unrolled(any_case());
  std::map<std::int64_t, std::size_t> gathering;
  for (std::size_t i = 0; i < program.size(); ++i) {
    const Instruction& instruction = program[i];
    if (instruction.opcode == Opcode::kGatherParameters)
      RC_ASSERT(gathering.emplace(instruction.unit, i).second);
    if (!reads_weights(instruction)) continue;
    const auto gather = gathering.find(instruction.unit);
    const std::size_t distance = gather == gathering.end() ? 0 : i - gather->second;
    RC_ASSERT(static_cast<std::size_t>(instruction.waits[0]) == distance);
    gathering.erase(instruction.unit);
  }
  RC_ASSERT(gathering.empty());
}

RC_GTEST_PROP(StepProgram, ComputesOnlyOnGatheredUnits, ()) {
  const Case c = any_case();
  std::set<std::int64_t> gathered;
  for (const Instruction& instruction : unrolled(c)) {
    if (instruction.opcode == Opcode::kGatherParameters) {
      RC_ASSERT(gathered.insert(instruction.unit).second);
    } else if (instruction.opcode == Opcode::kReleaseParameters) {
      RC_ASSERT(gathered.erase(instruction.unit) == 1U);
    } else if (reads_weights(instruction)) {
      RC_ASSERT(gathered.contains(instruction.unit));
    }
  }
  const bool whole =
      c.layout.sharding == Sharding::kShardOptimizer || c.layout.sharding == Sharding::kNoShard;
  RC_ASSERT(static_cast<std::int64_t>(gathered.size()) == (whole ? unit_count(c.model) : 0));
}

/// Under full_shard, when a block computes, those are under way, or gathered, that are next in its
/// pass, as many as there are up to the depth; none further.
RC_GTEST_PROP(StepProgram, GathersAsFarAheadAsAsked, ()) {
  Case c = any_case();
  c.layout.sharding = Sharding::kFullShard;
  c.layout.blocks_kept_gathered = 0;
  const std::int64_t depth = c.layout.prefetch_depth;
  const std::int64_t first = block_unit(c.model, 0);
  const std::int64_t last = first + c.model.num_hidden_layers - 1;
  std::set<std::int64_t> held;
  for (const Instruction& instruction : unrolled(c)) {
    const std::int64_t unit = instruction.unit;
    if (instruction.opcode == Opcode::kGatherParameters) held.insert(unit);
    if (instruction.opcode == Opcode::kReleaseParameters) held.erase(unit);
    if (instruction.computation != Computation::kBlock) continue;
    const std::int64_t stride = instruction.opcode == Opcode::kForward ? 1 : -1;
    std::int64_t ahead = 0;
    for (std::int64_t next = unit + stride; next >= first && next <= last; next += stride) {
      RC_ASSERT(held.contains(next) == (ahead < depth));
      ++ahead;
    }
    RC_ASSERT(held.contains(unit));
  }
}

RC_GTEST_PROP(StepProgram, AllButFullShardGatherOnceAStep, ()) {
  const Case c = any_case();
  std::multiset<std::int64_t> gathers;
  for (const Instruction& instruction : unrolled(c)) {
    if (instruction.opcode == Opcode::kGatherParameters) gathers.insert(instruction.unit);
  }
  const bool once = without_replicas(c.layout.sharding) != Sharding::kFullShard;
  const std::int64_t last_kept = c.model.num_hidden_layers - c.layout.blocks_kept_gathered;
  for (std::int64_t unit = 0; unit < unit_count(c.model); ++unit) {
    const Unit kind = unit_at(c.model, unit);
    const bool twice =
        kind.kind == UnitKind::kTied || (kind.kind == UnitKind::kBlock && kind.block < last_kept);
    const std::int64_t expected = once ? 1 : c.layout.accumulation * (twice ? 2 : 1);
    RC_ASSERT(static_cast<std::int64_t>(gathers.count(unit)) == expected);
  }
}

RC_GTEST_PROP(StepProgram, OneReductionIsUnderWayAndEachIsRetiredOnce, ()) {
  const Case c = any_case();
  const std::vector<Instruction> program = unrolled(c);
  const bool whole = accumulates_whole_gradients(c.layout);
  const Instruction* under_way = nullptr;
  std::int64_t issued = 0;
  for (std::size_t i = 0; i < program.size(); ++i) {
    const Instruction& instruction = program[i];
    if (instruction.retires != kNoUnit) {
      RC_ASSERT(under_way != nullptr);
      RC_ASSERT(instruction.retires == under_way->unit);
      RC_ASSERT(instruction.retires_place == under_way->place);
      RC_ASSERT(&program[i - static_cast<std::size_t>(instruction.waits[1])] == under_way);
      under_way = nullptr;
    }
    const bool issues =
        instruction.opcode == Opcode::kReduceGradients && (!whole || instruction.place.last);
    if (!issues) continue;
    RC_ASSERT(under_way == nullptr);
    under_way = &instruction;
    ++issued;
  }
  RC_ASSERT(under_way == nullptr);
  RC_ASSERT(issued == (whole ? 1 : c.layout.accumulation) * unit_count(c.model));
}

/// A tied weight's gradient is made by the loss, before the reductions of its microbatch.
RC_GTEST_PROP(StepProgram, NoReductionIsUnderWayWhenALossBegins, ()) {
  const Case c = any_case();
  const bool whole = accumulates_whole_gradients(c.layout);
  bool under_way = false;
  for (const Instruction& instruction : unrolled(c)) {
    if (instruction.retires != kNoUnit) under_way = false;
    if (instruction.opcode == Opcode::kLoss) RC_ASSERT(!under_way);
    if (instruction.opcode == Opcode::kReduceGradients)
      under_way = !whole || instruction.place.last;
  }
}

RC_GTEST_PROP(StepProgram, ReplicasSumEachUnitOnceWhenItsGradientIsWhole, ()) {
  const Case c = any_case();
  const std::vector<Instruction> program = unrolled(c);
  std::set<std::int64_t> reduced;
  std::set<std::int64_t> summed;
  for (std::size_t i = 0; i < program.size(); ++i) {
    const Instruction& instruction = program[i];
    if (instruction.retires != kNoUnit && instruction.retires_place.last)
      reduced.insert(instruction.retires);
    if (instruction.opcode == Opcode::kSumReplicas) {
      RC_ASSERT(reduced.contains(instruction.unit));
      RC_ASSERT(summed.insert(instruction.unit).second);
    }
    if (instruction.opcode == Opcode::kGradientNorm && !summed.empty()) {
      const Instruction& last = program[i - static_cast<std::size_t>(instruction.waits[0])];
      RC_ASSERT(last.opcode == Opcode::kSumReplicas);
    }
  }
  const bool replicas = c.layout.mesh.sizes[Axis::kDpReplicate] > 1;
  RC_ASSERT(static_cast<std::int64_t>(summed.size()) == (replicas ? unit_count(c.model) : 0));
}

RC_GTEST_PROP(StepProgram, BlocksComputeAgainWhatTheyDropped, ()) {
  const Case c = any_case();
  for (const Instruction& instruction : unrolled(c)) {
    if (instruction.computation != Computation::kBlock) continue;
    RC_ASSERT(instruction.recompute ==
              recompute_of(c.layout, unit_at(c.model, instruction.unit).block));
  }
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
  const bool tp = c.layout.mesh.sizes[Axis::kTp] > 1;
  const bool splits_tokens = tp && c.layout.sequence_parallel;
  for (std::size_t i = 0; i < program.size(); ++i) {
    if (program[i].opcode != Opcode::kReduceGradients) continue;
    const Instruction& awaited = program[i - static_cast<std::size_t>(program[i].waits[0])];
    RC_ASSERT(awaited.unit == program[i].unit);
    RC_ASSERT(awaited.microbatch == program[i].microbatch);
    const UnitKind kind = unit_at(c.model, program[i].unit).kind;
    const bool sums = kind == UnitKind::kBlock ? splits_tokens || (tp && c.model.qk_norm)
                                               : splits_tokens && kind != UnitKind::kEmbedding;
    if (sums) {
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

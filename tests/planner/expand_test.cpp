#include "planner/program/expand.h"

#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>

#include <cmath>
#include <string_view>

#include "planner/model/parameter_table.h"
#include "tests/planner/random_plans.h"
#include "tests/planner/unrolled.h"

namespace meshplan::planner {
namespace {

bool same(const Operation& a, const Operation& b) {
  return a.kind == b.kind && a.stream == b.stream && std::string_view(a.name) == b.name &&
         a.awaited == b.awaited && a.kernel == b.kernel && a.m == b.m && a.n == b.n && a.k == b.k &&
         a.flops == b.flops && a.collective == b.collective && a.axis == b.axis &&
         a.memory == b.memory && a.bytes == b.bytes;
}

RC_GTEST_PROP(Expand, AlikeInstructionsHaveTheSameOperations, ()) {
  const UnrolledStep step = unrolled_step(any_plan());
  const auto any_index = [&step] {
    return *rc::gen::inRange<std::size_t>(0, step.instructions.size());
  };
  for (int pair = 0; pair < 50; ++pair) {
    const std::size_t i = any_index();
    const std::size_t j = any_index();
    if (!expand_alike(step.context, step.instructions[i], step.instructions[j])) continue;
    const Operations& a = step.operations[i];
    const Operations& b = step.operations[j];
    RC_ASSERT(std::equal(a.begin(), a.end(), b.begin(), b.end(), same));
  }
}

RC_GTEST_PROP(Expand, SortsOfInstructionsAreFew, ()) {
  const UnrolledStep step = unrolled_step(any_plan());
  std::vector<Instruction> sorts;
  for (const Instruction& instruction : step.instructions) {
    const auto alike = [&](const Instruction& known) {
      return expand_alike(step.context, known, instruction);
    };
    if (std::none_of(sorts.begin(), sorts.end(), alike)) sorts.push_back(instruction);
  }
  RC_ASSERT(sorts.size() < 100U);
}

RC_GTEST_PROP(Expand, WaitsNameEarlierCollectivesOffTheComputeStream, ()) {
  for (const Operations& operations : unrolled_step(any_plan()).operations) {
    for (std::size_t i = 0; i < operations.size(); ++i) {
      if (operations[i].kind != OperationKind::kWait) {
        RC_ASSERT(operations[i].awaited == kNoOperation);
        continue;
      }
      RC_ASSERT(operations[i].awaited >= 0);
      RC_ASSERT(static_cast<std::size_t>(operations[i].awaited) < i);
      const Operation& awaited = operations[static_cast<std::size_t>(operations[i].awaited)];
      RC_ASSERT(awaited.kind == OperationKind::kCollective);
    }
  }
}

/// By the instruction itself or a later one; a stream ends its work in order, so the last of those
/// that follow one another may do for all.
RC_GTEST_PROP(Expand, EveryCollectiveIsWaitedFor, ()) {
  const UnrolledStep step = unrolled_step(any_plan());
  std::vector<bool> awaited(step.instructions.size(), false);
  for (std::size_t i = 0; i < step.instructions.size(); ++i) {
    for (std::int64_t distance : step.instructions[i].waits) {
      if (distance > 0) awaited[i - static_cast<std::size_t>(distance)] = true;
    }
  }
  for (std::size_t i = 0; i < step.operations.size(); ++i) {
    const Operations& operations = step.operations[i];
    for (std::size_t o = 0; o < operations.size(); ++o) {
      if (operations[o].kind != OperationKind::kCollective) continue;
      const bool joined = std::any_of(operations.begin(), operations.end(), [o](const auto& other) {
        return other.awaited == static_cast<std::int32_t>(o);
      });
      bool later = awaited[i];
      for (std::size_t j = i + 1; !later && j < step.operations.size(); ++j) {
        later = awaited[j] && std::any_of(step.operations[j].begin(), step.operations[j].end(),
                                          [&](const Operation& other) {
                                            return other.kind == OperationKind::kCollective &&
                                                   other.stream == operations[o].stream;
                                          });
      }
      RC_ASSERT(joined || later);
    }
  }
}

RC_GTEST_PROP(Expand, CollectivesHaveGroupsAndStreamsOfTheirAxis, ()) {
  const Plan plan = any_plan();
  for (const Operations& operations : unrolled_step(plan).operations) {
    for (const Operation& operation : operations) {
      if (operation.kind != OperationKind::kCollective) {
        RC_ASSERT(operation.stream == Stream::kCompute);
        continue;
      }
      RC_ASSERT(plan.layout.mesh.sizes[operation.axis] > 1);
      RC_ASSERT(operation.bytes.value > 0);
      RC_ASSERT(operation.stream != Stream::kTp || operation.axis == Axis::kTp);
      if (operation.collective == CollectiveKind::kAllReduce || operation.axis == Axis::kTp)
        continue;
      RC_ASSERT(operation.axis == Axis::kDpShard);
      RC_ASSERT(operation.bytes.value % plan.layout.mesh.sizes[Axis::kDpShard] == 0);
      const bool gathers = operation.collective == CollectiveKind::kAllGather;
      RC_ASSERT(operation.stream == (gathers ? Stream::kGather : Stream::kReduce));
    }
  }
}

/// How often a block's matrix is multiplied once more.
std::int64_t times_recomputed(const Recompute& recompute, ParameterRole role) {
  switch (role) {
    case ParameterRole::kQueryWeight:
    case ParameterRole::kKeyWeight:
    case ParameterRole::kValueWeight:
      return recompute.qkv ? 1 : 0;
    case ParameterRole::kAttentionOutputWeight:
      return recompute.attention ? 1 : 0;
    case ParameterRole::kGateWeight:
    case ParameterRole::kUpWeight:
      return recompute.gate_up ? 1 : 0;
    default:
      return 0;
  }
}

/// 2 FLOPs a token and weight forward, 4 backward, 2 where it is computed again, for every matrix
/// but the embedding's look-up; each rank has 1/tp of them, of the vocabulary rounded up.
RC_GTEST_PROP(Expand, MatmulFlopsAreSixPerTokenAndWeight, ()) {
  const Plan plan = any_plan();
  double flops = 0;
  for (const Operations& operations : unrolled_step(plan).operations) {
    for (const Operation& operation : operations) {
      const bool matmul =
          operation.kind == OperationKind::kKernel && operation.kernel == KernelKind::kMatmul;
      if (matmul) flops += operation.flops.value;
    }
  }
  const ModelSpec& model = plan.model;
  const std::int64_t tp = plan.layout.mesh.sizes[Axis::kTp];
  std::int64_t multiplied = 3 * ((model.vocab_size + tp - 1) / tp) * model.hidden_size;
  for (std::int64_t block = 0; block < model.num_hidden_layers; ++block) {
    const Recompute recompute = recompute_of(plan.layout, block);
    for (const Parameter& parameter : parameters_of(model, {UnitKind::kBlock, block})) {
      if (parameter.shape.size() != 2) continue;
      multiplied +=
          (3 + times_recomputed(recompute, parameter.role)) * element_count(parameter) / tp;
    }
  }
  const std::int64_t tokens =
      plan.layout.microbatch_size * plan.job.seq_length * plan.layout.accumulation;
  RC_ASSERT(std::abs(flops / (2.0 * static_cast<double>(multiplied * tokens)) - 1) < 1e-12);
}

RC_GTEST_PROP(Expand, LossChunksCoverTheTokensOnce, ()) {
  const Plan plan = any_plan();
  const UnrolledStep step = unrolled_step(plan);
  for (std::size_t i = 0; i < step.instructions.size(); ++i) {
    if (step.instructions[i].opcode != Opcode::kLoss) continue;
    std::int64_t rows = 0;
    std::int64_t chunks = 0;
    for (const Operation& operation : step.operations[i]) {
      if (std::string_view(operation.name) != "output_head") continue;
      rows += operation.m;
      ++chunks;
    }
    RC_ASSERT(rows == plan.layout.microbatch_size * plan.job.seq_length);
    RC_ASSERT(chunks <= plan.layout.loss_chunks);
  }
}

/// The trailing sum of an instruction holds compute back before the next one begins.
TEST(Expand, TheEmbeddingsSumOverTpIsAwaited) {
  const Layout layout = layout_of({.tp = 2});
  const StepContext context =
      make_step_context(small_model(1), small_job(), layout, DeviceKind::kGpu);
  Instruction embedding{.opcode = Opcode::kForward};
  embedding.computation = Computation::kEmbedding;
  embedding.unit = 0;
  const Operations operations = expand(context, embedding);
  ASSERT_GE(operations.size(), 2u);
  EXPECT_EQ(operations.back().kind, OperationKind::kWait);
  EXPECT_EQ(operations[operations.size() - 2].kind, OperationKind::kCollective);
}

}  // namespace
}  // namespace meshplan::planner

#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <gtest/gtest.h>

#include "executor/launch/rendezvous.h"
#include "executor/memory/counting_allocator.h"
#include "executor/model/initial_parameters.h"
#include "executor/run/step_runner.h"
#include "planner/program/expand.h"
#include "tests/planner/plans.h"

// Whole steps of the feed-forward demo on one rank; more ranks, and the losses of its peer, are in
// tests/parity/feed_forward_test.py.

namespace meshplan::executor {
namespace {

using common::DataType;
using planner::OperationKind;

/// Scalars and other crumbs, which the program does not list.
constexpr std::int64_t kCrumb = 64;

planner::Plan plan_of(DataType param_dtype, std::int64_t accumulation) {
  planner::Layout layout = planner::layout_of({});
  layout.microbatch_size = 5;
  layout.accumulation = accumulation;
  planner::Job job;
  job.seq_length = 2;
  job.param_dtype = param_dtype;
  return planner::plan_of(planner::feed_forward_model(24, 40), planner::cpu_cluster(layout), job,
                          layout);
}

std::vector<Batch> random_batches(const planner::Plan& plan) {
  std::vector<Batch> batches;
  for (std::int64_t i = 0; i < plan.layout.accumulation; ++i) {
    Batch batch;
    batch.label_count = 1;
    batch.rows =
        at::randn({planner::microbatch_tokens(plan.layout, plan.job), plan.model.hidden_size})
            .to(scalar_type(plan.job.param_dtype));
    batches.push_back(std::move(batch));
  }
  return batches;
}

std::vector<std::int64_t> planned_changes(const planner::Plan& plan) {
  const planner::StepContext context =
      planner::make_step_context(plan.model, plan.job, plan.layout, planner::DeviceKind::kCpu);
  std::vector<std::int64_t> planned;
  for (const auto& instruction :
       planner::unroll(planner::build_program(plan.model, plan.job, plan.layout))) {
    for (const planner::Operation& operation : planner::expand(context, instruction)) {
      if (operation.bytes.value <= kCrumb) continue;
      if (operation.kind == OperationKind::kAllocate) planned.push_back(operation.bytes.value);
      if (operation.kind == OperationKind::kFree) planned.push_back(-operation.bytes.value);
    }
  }
  return planned;
}

/// A rank alone with the demo, whose allocations are counted.
struct AloneRank {
  explicit AloneRank(planner::Plan planned)
      : plan(std::move(planned)), batches(random_batches(plan)), runner(plan, 0, groups, at::kCPU) {
    randomize_parameters(runner.units(), {}, plan.model, 1);
    runner.set_loss_scale({.scale = 16});
  }
  StepResult run(std::int64_t step) { return runner.run(batches, {}, step, trace); }

  planner::Plan plan;
  std::vector<Batch> batches;
  Rendezvous rendezvous{formats::LaunchEnvironment{}};
  MeshCommunicators groups{plan.layout.mesh, 0, at::kCPU, rendezvous.store("groups")};
  StepRunner runner;
  TraceRecorder trace{0};
};

class FeedForwardStep : public testing::TestWithParam<std::pair<DataType, std::int64_t>> {
 protected:
  static void SetUpTestSuite() {
    install_counting_allocator();
    at::set_num_threads(1);
  }

  AloneRank rank_{plan_of(GetParam().first, GetParam().second)};
};

/// The program frees the step's gradient slices as one, the runner unit by unit.
TEST_P(FeedForwardStep, AllocatesAndFreesAsTheProgramSays) {
  rank_.run(1);
  record_allocations(true);
  rank_.run(2);
  record_allocations(false);
  std::vector<std::int64_t> recorded;
  for (std::int64_t bytes : recorded_allocations()) {
    if (std::abs(bytes) > kCrumb) recorded.push_back(bytes);
  }
  std::vector<std::int64_t> planned = planned_changes(rank_.plan);
  ASSERT_GE(planned.size(), 12u);
  const std::size_t slices = 3;
  ASSERT_EQ(recorded.size(), planned.size() - 1 + slices);
  std::int64_t freed = 0;
  for (std::size_t i = 0; i < slices; ++i, recorded.pop_back()) freed += recorded.back();
  recorded.push_back(freed);
  EXPECT_EQ(recorded, planned);
}

TEST_P(FeedForwardStep, EvaluatesToTheLossOfTheStepThatFollows) {
  const common::Bytes before = memory_counts().own;
  const double evaluated = rank_.runner.evaluate(
      rank_.plan.layout.accumulation,
      [&](std::int64_t i) { return rank_.batches[static_cast<std::size_t>(i)]; });
  EXPECT_EQ(memory_counts().own, before);
  const double loss = rank_.run(1).loss;
  std::printf("loss %.9f, evaluated %.9f; tolerance 1e-9\n", loss, evaluated);
  EXPECT_NEAR(evaluated, loss, 1e-9);
}

INSTANTIATE_TEST_SUITE_P(Types, FeedForwardStep,
                         testing::Values(std::pair{DataType::kFloat32, 1},
                                         std::pair{DataType::kFloat32, 3},
                                         std::pair{DataType::kBfloat16, 2},
                                         std::pair{DataType::kFloat16, 1}));

/// The first loss scales may be beyond what float16 holds.
TEST(FeedForwardStepInFloat16, IsLeftOutWhereItsGradientsOverflow) {
  AloneRank rank(plan_of(DataType::kFloat16, 1));
  const at::Tensor before = rank.runner.units().front().master.clone();
  rank.runner.set_loss_scale({.scale = 0x1p20});
  EXPECT_FALSE(rank.run(1).updated);
  EXPECT_TRUE(at::equal(rank.runner.units().front().master, before));
}

}  // namespace
}  // namespace meshplan::executor

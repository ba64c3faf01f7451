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

class FeedForwardStep : public testing::TestWithParam<std::pair<DataType, std::int64_t>> {
 protected:
  static void SetUpTestSuite() {
    install_counting_allocator();
    at::set_num_threads(1);
  }

  FeedForwardStep()
      : plan_(plan_of(GetParam().first, GetParam().second)),
        batches_(random_batches(plan_)),
        runner_(plan_, 0, groups_, at::kCPU) {
    randomize_parameters(runner_.units(), {}, plan_.model, 1);
    runner_.set_loss_scale({.scale = 16});
  }

  planner::Plan plan_;
  std::vector<Batch> batches_;
  Rendezvous rendezvous_{LaunchEnvironment{}};
  MeshCommunicators groups_{plan_.layout.mesh, 0, at::kCPU, rendezvous_.store("groups")};
  StepRunner runner_;
  TraceRecorder trace_{0};
};

/// The program frees the step's gradient slices as one, the runner unit by unit.
TEST_P(FeedForwardStep, AllocatesAndFreesAsTheProgramSays) {
  runner_.run(batches_, {}, 1, trace_);
  record_allocations(true);
  runner_.run(batches_, {}, 2, trace_);
  record_allocations(false);
  std::vector<std::int64_t> recorded;
  for (std::int64_t bytes : recorded_allocations()) {
    if (std::abs(bytes) > kCrumb) recorded.push_back(bytes);
  }
  std::vector<std::int64_t> planned = planned_changes(plan_);
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
  const double evaluated = runner_.evaluate(plan_.layout.accumulation, [&](std::int64_t i) {
    return batches_[static_cast<std::size_t>(i)];
  });
  EXPECT_EQ(memory_counts().own, before);
  const double loss = runner_.run(batches_, {}, 1, trace_).loss;
  std::printf("loss %.9f, evaluated %.9f; tolerance 1e-9\n", loss, evaluated);
  EXPECT_NEAR(evaluated, loss, 1e-9);
}

INSTANTIATE_TEST_SUITE_P(Types, FeedForwardStep,
                         testing::Values(std::pair{DataType::kFloat32, 1},
                                         std::pair{DataType::kFloat32, 3},
                                         std::pair{DataType::kBfloat16, 2},
                                         std::pair{DataType::kFloat16, 1}));

}  // namespace
}  // namespace meshplan::executor

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include "executor/launch/rendezvous.h"
#include "executor/memory/counting_allocator.h"
#include "executor/model/initial_parameters.h"
#include "executor/run/step_runner.h"
#include "tests/planner/plans.h"

namespace meshplan::executor {
namespace {

Batch random_batch(const planner::Plan& plan) {
  const std::int64_t rows = plan.layout.microbatch_size;
  const std::int64_t seq = plan.job.seq_length;
  Batch batch{.tokens = at::randint(plan.model.vocab_size, {rows, seq}, at::kLong),
              .labels = at::randint(plan.model.vocab_size, {rows, seq}, at::kLong),
              .label_count = rows * seq - 3};
  batch.labels.view(-1).slice(0, 0, 3).fill_(kIgnoredLabel);
  return batch;
}

class Evaluate : public testing::TestWithParam<bool> {
 protected:
  void SetUp() override { install_counting_allocator(); }
};

TEST_P(Evaluate, IsTheLossOfTheStepThatFollowsAndLeavesNothingBehind) {
  planner::ModelSpec model = planner::small_model();
  model.tie_word_embeddings = GetParam();
  planner::Layout layout = planner::layout_of({});
  layout.accumulation = 2;
  layout.loss_chunks = 3;
  const planner::Plan plan =
      planner::plan_of(model, planner::cpu_cluster(layout), planner::small_job(), layout);
  const Rendezvous rendezvous(formats::LaunchEnvironment{});
  MeshCommunicators groups(plan.layout.mesh, 0, at::kCPU, rendezvous.store("groups"));
  StepRunner runner(plan, 0, groups, at::kCPU);
  randomize_parameters(runner.units(), {}, plan.model, 1);
  const std::vector<Batch> batches = {random_batch(plan), random_batch(plan)};
  const auto batch_at = [&](std::int64_t i) { return batches[static_cast<std::size_t>(i)]; };

  const common::Bytes before = memory_counts().own;
  reset_peak_memory();
  const double evaluated = runner.evaluate(2, batch_at);
  const common::Bytes peak_of_evaluation = memory_counts().own_peak;
  EXPECT_EQ(memory_counts().own, before);
  EXPECT_EQ(runner.evaluate(2, batch_at), evaluated);
  EXPECT_TRUE(groups.log().issued().empty());

  reset_peak_memory();
  TraceRecorder trace(0);
  const StepResult step = runner.run(batches, {}, 1, trace);
  std::printf("loss %.9f, evaluated %.9f; tolerance 1e-6\n", step.loss, evaluated);
  EXPECT_NEAR(evaluated, step.loss, 1e-6);
  EXPECT_LT(peak_of_evaluation, memory_counts().own_peak);
}

INSTANTIATE_TEST_SUITE_P(TiedAndUntied, Evaluate, testing::Bool());

}  // namespace
}  // namespace meshplan::executor

#include "executor/run/step_runner.h"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdlib>
#include <limits>

#include "executor/launch/rendezvous.h"
#include "executor/memory/counting_allocator.h"
#include "executor/model/initial_parameters.h"
#include "planner/program/expand.h"
#include "tests/planner/plans.h"

namespace meshplan::executor {
namespace {

using planner::Operation;
using planner::OperationKind;

/// Scalars and other crumbs, which the program does not list.
constexpr std::int64_t kCrumb = 64;

std::vector<Batch> random_batches(const planner::Plan& plan) {
  std::vector<Batch> batches;
  const std::int64_t rows = plan.layout.microbatch_size;
  const std::int64_t seq = plan.job.seq_length;
  for (std::int64_t i = 0; i < plan.layout.accumulation; ++i) {
    Batch batch{.tokens = at::randint(plan.model.vocab_size, {rows, seq}, at::kLong),
                .labels = at::randint(plan.model.vocab_size, {rows, seq}, at::kLong),
                .label_count = rows * seq};
    batches.push_back(std::move(batch));
  }
  return batches;
}

/// The bytes that the program allocates (+) and frees (-) in a step, in order.
std::vector<std::int64_t> planned_allocations(const planner::Plan& plan) {
  const planner::StepContext context =
      planner::make_step_context(plan.model, plan.job, plan.layout, planner::DeviceKind::kCpu);
  std::vector<std::int64_t> planned;
  for (const auto& instruction :
       planner::unroll(planner::build_program(plan.model, plan.job, plan.layout))) {
    for (const Operation& operation : planner::expand(context, instruction)) {
      if (operation.bytes.value <= kCrumb) continue;
      if (operation.kind == OperationKind::kAllocate) planned.push_back(operation.bytes.value);
      if (operation.kind == OperationKind::kFree) planned.push_back(-operation.bytes.value);
    }
  }
  return planned;
}

std::vector<std::int64_t> recorded_without_crumbs() {
  std::vector<std::int64_t> recorded;
  for (std::int64_t bytes : recorded_allocations()) {
    if (std::abs(bytes) > kCrumb) recorded.push_back(bytes);
  }
  return recorded;
}

/// A rank alone with its model, whose allocations are counted.
class StepRunnerTest : public testing::Test {
 protected:
  static void SetUpTestSuite() {
    install_counting_allocator();
    at::set_num_threads(1);
  }

  /// Runs two steps and returns the allocations of the second.
  std::vector<std::int64_t> allocations_of_a_step(const planner::Plan& plan) {
    const Rendezvous rendezvous(formats::LaunchEnvironment{});
    MeshCommunicators groups(plan.layout.mesh, 0, at::kCPU, rendezvous.store("groups"));
    StepRunner runner(plan, 0, groups, at::kCPU);
    randomize_parameters(runner.units(), {}, plan.model, 1);
    TraceRecorder trace(0);
    const std::vector<Batch> batches = random_batches(plan);
    runner.run(batches, {}, 1, trace);
    record_allocations(true);
    runner.run(batches, {}, 2, trace);
    record_allocations(false);
    return recorded_without_crumbs();
  }
};

/// Allocations that follow one another as one, and frees likewise: what is left is every rise and
/// fall of memory, whether three tensors or one made it.
std::vector<std::int64_t> rises_and_falls(const std::vector<std::int64_t>& changes) {
  std::vector<std::int64_t> merged;
  for (std::int64_t bytes : changes) {
    if (!merged.empty() && (merged.back() > 0) == (bytes > 0)) {
      merged.back() += bytes;
    } else {
      merged.push_back(bytes);
    }
  }
  return merged;
}

class StepRunnerFamilies : public StepRunnerTest, public testing::WithParamInterface<int> {};

TEST_P(StepRunnerFamilies, MemoryRisesAndFallsAsTheProgramSays) {
  planner::ModelSpec model = planner::small_model();
  model.qk_norm = GetParam() % 2 == 1;
  model.qkv_bias = GetParam() % 2 == 0;
  model.tie_word_embeddings = GetParam() / 2 % 2 == 1;
  planner::Layout layout = planner::layout_of({});
  layout.accumulation = 1 + GetParam() % 3;
  layout.loss_chunks = 1 + GetParam() / 2;
  using planner::ActivationCheckpointing;
  layout.activation_checkpointing =
      std::array{ActivationCheckpointing::kNone, ActivationCheckpointing::kSelective,
                 ActivationCheckpointing::kFull}[static_cast<std::size_t>(GetParam() / 2 % 3)];
  if (GetParam() % 2 == 1) layout.checkpointed_blocks = 1;
  const planner::Plan plan =
      planner::plan_of(model, planner::cpu_cluster(layout), planner::small_job(), layout);
  const std::vector<std::int64_t> planned = planned_allocations(plan);
  EXPECT_GT(planned.size(), 100u);
  const std::vector<std::int64_t> expected = rises_and_falls(planned);
  const std::vector<std::int64_t> measured = rises_and_falls(allocations_of_a_step(plan));
  const auto [e, m] =
      std::mismatch(expected.begin(), expected.end(), measured.begin(), measured.end());
  EXPECT_TRUE(e == expected.end() && m == measured.end())
      << "rise or fall " << e - expected.begin() << " of " << expected.size()
      << ": the program says " << (e == expected.end() ? 0 : *e) << ", measured "
      << (m == measured.end() ? 0 : *m);
}

INSTANTIATE_TEST_SUITE_P(Families, StepRunnerFamilies, testing::Range(0, 12));

/// Copies in bfloat16 of float32 masters are there from their gather on, even on a rank alone.
TEST_F(StepRunnerTest, GathersAsFarAheadAsTheLayoutSays) {
  std::vector<std::vector<std::int64_t>> seen;
  for (const std::int64_t depth : {0, 1, 2, 3}) {
    planner::Job job = planner::small_job();
    job.param_dtype = common::DataType::kBfloat16;
    planner::Layout layout = planner::layout_of({});
    layout.prefetch_depth = depth;
    const planner::Plan plan =
        planner::plan_of(planner::small_model(), planner::cpu_cluster(layout), job, layout);
    ASSERT_TRUE(plan.estimate.violations.empty());
    seen.push_back(rises_and_falls(allocations_of_a_step(plan)));
    EXPECT_EQ(seen.back(), rises_and_falls(planned_allocations(plan))) << depth;
  }
  EXPECT_NE(seen[0], seen[1]);
  EXPECT_NE(seen[1], seen[2]);
}

TEST_F(StepRunnerTest, LeavesOutAFloat16StepWhoseGradientsOverflow) {
  const planner::Layout layout = planner::layout_of({});
  planner::Job job = planner::small_job();
  job.param_dtype = common::DataType::kFloat16;
  const planner::Plan plan =
      planner::plan_of(planner::small_model(1), planner::cpu_cluster(layout), job, layout);
  const Rendezvous rendezvous(formats::LaunchEnvironment{});
  MeshCommunicators groups(plan.layout.mesh, 0, at::kCPU, rendezvous.store("groups"));
  StepRunner runner(plan, 0, groups, at::kCPU);
  randomize_parameters(runner.units(), {}, plan.model, 1);
  const at::Tensor before = runner.units().front().master.clone();
  TraceRecorder trace(0);
  const std::vector<Batch> batches = random_batches(plan);

  runner.set_loss_scale({.scale = 0x1p40});
  EXPECT_FALSE(runner.run(batches, {}, 1, trace).updated);
  EXPECT_TRUE(at::equal(runner.units().front().master, before));
  EXPECT_EQ(runner.loss_scale(), (LossScale{.scale = 0x1p39, .good_steps = 0, .skipped = 1}));

  runner.set_loss_scale({.scale = 1024});
  const StepResult scaled = runner.run(batches, {.learning_rate = 0}, 1, trace);
  runner.set_loss_scale({.scale = 1});
  const StepResult plain = runner.run(batches, {.learning_rate = 0}, 1, trace);
  EXPECT_TRUE(scaled.updated && plain.updated);
  EXPECT_NEAR(scaled.loss, plain.loss, 1e-9);
  EXPECT_NEAR(scaled.gradient_norm, plain.gradient_norm, 1e-2 * plain.gradient_norm);
}

TEST_F(StepRunnerTest, StopsBeforeTheUpdateWhenTheGradientIsNotFinite) {
  const planner::Layout layout = planner::layout_of({});
  const planner::Plan plan = planner::plan_of(planner::small_model(1), planner::cpu_cluster(layout),
                                              planner::small_job(), layout);
  const Rendezvous rendezvous(formats::LaunchEnvironment{});
  MeshCommunicators groups(plan.layout.mesh, 0, at::kCPU, rendezvous.store("groups"));
  StepRunner runner(plan, 0, groups, at::kCPU);
  randomize_parameters(runner.units(), {}, plan.model, 1);
  runner.units().back().master.fill_(std::numeric_limits<float>::infinity());
  const at::Tensor before = runner.units().front().master.clone();
  TraceRecorder trace(0);
  try {
    runner.run(random_batches(plan), {}, 1, trace);
    FAIL() << "an infinite weight went through";
  } catch (const common::Error& error) {
    EXPECT_EQ(error.code(), common::ErrorCode::kDiverged);
  }
  EXPECT_TRUE(at::equal(runner.units().front().master, before));
}

TEST_F(StepRunnerTest, InitialParametersDoNotDependOnTheMesh) {
  // Every element of the model, taken from the slices of one rank and from those of a 2 x 2 mesh.
  const auto sum_of_slices = [](std::int64_t dp_shard, std::int64_t tp) {
    const planner::Layout layout = planner::layout_of({.dp_shard = dp_shard, .tp = tp});
    const planner::StepContext context = planner::make_step_context(
        planner::small_model(), planner::small_job(), layout, planner::DeviceKind::kCpu);
    Communicator alone(planner::Axis::kDpShard);
    const UnitSharding sharding(context, alone, alone, at::kCPU);
    double sum = 0;
    for (std::int64_t d = 0; d < dp_shard; ++d) {
      for (std::int64_t t = 0; t < tp; ++t) {
        std::vector<ShardedUnit> units;
        for (std::int64_t u = 0; u < planner::unit_count(context.model); ++u)
          units.push_back(sharding.make_unit(u));
        randomize_parameters(units, {.tp_rank = t, .dp_shard_rank = d}, context.model, 7);
        for (const ShardedUnit& unit : units) {
          // Replicated parameters are on every tp rank: counted on the first alone.
          const std::int64_t split_end = unit.flat.sections[1].end - d * unit.flat.shard_elements;
          const std::int64_t counted =
              t == 0 ? unit.flat.shard_elements
                     : std::clamp<std::int64_t>(split_end, 0, unit.flat.shard_elements);
          sum += unit.master.slice(0, 0, counted).to(at::kDouble).square().sum().item<double>();
        }
      }
    }
    return sum;
  };
  const double whole = sum_of_slices(1, 1);
  EXPECT_GT(whole, 1.0);
  EXPECT_NEAR(sum_of_slices(2, 2), whole, 1e-9 * whole);
  EXPECT_NEAR(sum_of_slices(4, 1), whole, 1e-9 * whole);
  EXPECT_NEAR(sum_of_slices(1, 4), whole, 1e-9 * whole);
}

}  // namespace
}  // namespace meshplan::executor

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <chrono>
#include <set>
#include <string>
#include <thread>

#include "executor/calibrate/fit.h"
#include "executor/calibrate/kernel_work.h"
#include "executor/calibrate/rank_timer.h"
#include "planner/program/expand.h"
#include "planner/program/step_program.h"

namespace meshplan::executor {
namespace {

using planner::Operation;
using planner::OperationKind;
using planner::StepContext;

TEST(LineFit, IsTheLineThatAllPointsLieOn) {
  const LineFit line = fit_line({{10, 3 + 10 / 4.0}, {100, 3 + 100 / 4.0}, {1000, 3 + 1000 / 4.0}});
  EXPECT_NEAR(line.fixed, 3, 1e-9);
  EXPECT_NEAR(line.rate, 4, 1e-9);
}

TEST(LineFit, HasTheFixedPartOnceAStep) {
  const LineFit line = fit_line({{10, 3 + 10 / 4.0, 1}, {10, 9 + 10 / 4.0, 3}, {80, 6 + 20, 2}});
  EXPECT_NEAR(line.fixed, 3, 1e-9);
  EXPECT_NEAR(line.rate, 4, 1e-9);
}

TEST(LineFit, MakesLittleOfAPointThatIsLostInNoise) {
  const auto fixed = [](double noise) {
    return fit_line({{1, 1, 1, noise}, {2, 1e-6, 1, noise}, {4, 1, 1, noise}, {1000, 6, 1, noise}})
        .fixed;
  };
  EXPECT_LT(fixed(0), 0.01);
  EXPECT_GT(fixed(1), 0.2);
}

TEST(LineFit, GoesThroughTheOriginWhereTheFixedPartWouldBeNegative) {
  const LineFit line = fit_line({{10, 1}, {20, 3}});
  EXPECT_EQ(line.fixed, 0);
  EXPECT_GT(line.rate, 20 / 3.0);
  EXPECT_LT(line.rate, 10);
}

TEST(LineFit, IsAConstantWhereTimesDoNotGrow) {
  const LineFit line = fit_line({{10, 2}, {20, 2}, {40, 1}});
  EXPECT_GT(line.fixed, 1);
  EXPECT_EQ(line.rate, 40);
}

TEST(RankTimer, MeasuresACallByItselfAndTogether) {
  const RankTimer timer(Communicator(planner::Axis::kDpShard), at::kCPU);
  const auto nap = [] { std::this_thread::sleep_for(std::chrono::milliseconds(5)); };
  for (const double seconds : {timer.seconds_alone(nap), timer.seconds_together(nap)}) {
    EXPECT_GE(seconds, 0.005);
    EXPECT_LT(seconds, 0.05);
  }
}

/// Of one of two tp ranks.
StepContext small_step() {
  const planner::ModelSpec model = planner::load_model("demo-qwen2");
  planner::Job job;
  job.seq_length = 16;
  job.param_dtype = common::DataType::kFloat32;
  planner::Layout layout;
  layout.mesh.sizes[planner::Axis::kTp] = 2;
  return planner::make_step_context(model, job, layout, planner::DeviceKind::kCpu);
}

TEST(StepKernels, AreAllOfAStepsMultipliesAndAttentionAndMostOfItsBytes) {
  const StepContext context = small_step();
  double flops = 0;
  double bytes = 0;
  for (const planner::Instruction& instruction :
       planner::unroll(planner::build_program(context.model, context.job, context.layout))) {
    for (const Operation& operation : planner::expand(context, instruction)) {
      if (operation.kind != OperationKind::kKernel) continue;
      flops += operation.flops.value;
      bytes += static_cast<double>(operation.bytes.value);
    }
  }
  std::set<std::string> names;
  double measured_flops = 0;
  double measured_bytes = 0;
  for (const KernelWork& work : step_kernels(context, at::kFloat, at::kCPU)) {
    EXPECT_TRUE(names.insert(work.operation.name).second) << work.operation.name;
    measured_flops += work.share * work.operation.flops.value;
    measured_bytes += work.share * static_cast<double>(work.operation.bytes.value);
    work.run();
    work.run();
  }
  EXPECT_NEAR(measured_flops, flops, 1e-9 * flops);
  EXPECT_GT(measured_bytes, 0.9 * bytes);
  EXPECT_LE(measured_bytes, bytes);
}

TEST(StepKernels, RunInBfloat16) {
  for (const KernelWork& work : step_kernels(small_step(), at::kBFloat16, at::kCPU)) {
    EXPECT_NO_THROW(work.run()) << work.operation.name;
  }
}

}  // namespace
}  // namespace meshplan::executor

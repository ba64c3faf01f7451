#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <torch/csrc/distributed/c10d/Backend.hpp>
#include <torch/csrc/distributed/c10d/HashStore.hpp>

#include "executor/comm/backends.h"
#include "executor/comm/communicator.h"
#include "executor/kernels/cuda_attention.h"
#include "executor/memory/device.h"
#include "tests/executor/parity.h"

// What only a GPU can show: NCCL in a world of one, the allocator's peaks, attention.

namespace meshplan::executor {
namespace {

using planner::Axis;

class OnGpu : public testing::Test {
 protected:
  void SetUp() override {
    device_ = device_for(0);
    if (!device_.is_cuda()) GTEST_SKIP() << "no CUDA device is visible";
    at::manual_seed(7);
  }
  at::Device device_ = at::kCPU;
};

TEST_F(OnGpu, NcclInAWorldOfOneGivesBackItsInputAndIsTimed) {
  const auto store = c10::make_intrusive<c10d::HashStore>();
  const BackendFactory factory(BackendKind::kNccl, device_, {}, store);
  const auto backend = factory.make({.name = "dp_shard/0", .rank = 0, .members = {0}});
  CollectiveLog log;
  {
    Communicator group(Axis::kDpShard, 0, 1, backend, &log);
    const at::Tensor input = at::arange(1 << 20, at::TensorOptions(at::kFloat).device(device_));
    const at::Tensor output = at::zeros_like(input);
    group.all_gather(output, input).wait();
    EXPECT_TRUE(at::equal(output, input));
    output.zero_();
    group.reduce_scatter(output, input).wait();
    EXPECT_TRUE(at::equal(output, input));
    group.all_reduce(output, ReduceOp::kMax).wait();
    EXPECT_TRUE(at::equal(output, input));
  }
  DeviceClock clock(device_);
  for (const CollectiveTiming& timing : log.timings(&clock))
    EXPECT_LE(timing.issued, timing.waited);
  backend->shutdown();
}

TEST_F(OnGpu, PeaksAreOfTheCachingAllocator) {
  reset_peak_allocated(device_);
  const std::int64_t before = peak_allocated(device_).value;
  constexpr std::int64_t kBytes = 64 << 20;
  at::empty({kBytes}, at::TensorOptions(at::kByte).device(device_));
  EXPECT_EQ(peak_allocated(device_).value - before, kBytes);
  EXPECT_GE(peak_reserved(device_).value, peak_allocated(device_).value);
}

TEST_F(OnGpu, EveryAttentionAgreesWithWholeScoreMatrices) {
  using cuda_attention::Algorithm;
  for (const auto& [type, algorithm, tolerance] :
       {std::tuple{at::kBFloat16, Algorithm::kFlash, 2e-2},
        std::tuple{at::kBFloat16, Algorithm::kCudnn, 2e-2},
        std::tuple{at::kFloat, Algorithm::kEfficient, 1e-5}}) {
    Parity parity(cuda_attention::to_string(algorithm));
    const auto heads = [&](std::int64_t count) {
      return at::randn({2, 384, count, 64}, at::TensorOptions(type).device(device_))
          .transpose(1, 2);
    };
    const at::Tensor q = heads(8), k = heads(2), v = heads(2), grad_out = heads(8);
    const auto run = [&](Algorithm which, at::ScalarType as) {
      const at::Tensor a = q.to(as), b = k.to(as), c = v.to(as);
      const auto output = cuda_attention::forward(which, a, b, c);
      const auto gradients = cuda_attention::backward(which, grad_out.to(as), a, b, c, output);
      return std::vector<at::Tensor>{output.out, gradients.q, gradients.k, gradients.v};
    };
    const auto actual = run(algorithm, type);
    const auto expected = run(Algorithm::kComposed, at::kDouble);
    for (std::size_t i = 0; i < actual.size(); ++i)
      parity.expect_close(actual[i], expected[i], tolerance);
  }
}

TEST_F(OnGpu, TheChosenAttentionIsTheSameAtEveryCall) {
  const at::Tensor q =
      at::zeros({1, 8, 512, 128}, at::TensorOptions(at::kBFloat16).device(device_));
  const at::Tensor k = at::zeros({1, 2, 512, 128}, q.options());
  EXPECT_EQ(cuda_attention::choose(q, k), cuda_attention::choose(q, k));
}

}  // namespace
}  // namespace meshplan::executor

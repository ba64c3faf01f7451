#include "executor/calibrate/measure.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <chrono>

#include "common/error.h"
#include "planner/cost/price.h"

namespace meshplan::executor {
namespace {

using planner::CollectiveKind;

constexpr int kWarmUp = 3;
constexpr int kRounds = 15;

void synchronize(at::Device device) {
  if (!device.is_cpu()) at::zeros({1}, device).item<float>();
}

/// Operands of a matrix multiply and a place for its product.
struct MatmulTensors {
  at::Tensor a;
  at::Tensor b;
  at::Tensor out;

  MatmulTensors(const planner::Operation& matmul, at::ScalarType type, at::Device device) {
    const at::TensorOptions options = at::TensorOptions(type).device(device);
    a = at::ones({matmul.m, matmul.k}, options);
    b = at::ones({matmul.n, matmul.k}, options);
    out = at::empty({matmul.m, matmul.n}, options);
  }

  void run() { at::mm_out(out, a, b.t()); }
};

/// Buffers of a collective: the whole tensor and this rank's part of it.
struct CollectiveTensors {
  at::Tensor whole;
  at::Tensor part;

  CollectiveTensors(const Communicator& group, std::int64_t elements, at::Device device) {
    const std::int64_t each = std::max<std::int64_t>(1, elements / group.size());
    whole = at::zeros({each * group.size()}, at::TensorOptions(at::kFloat).device(device));
    part = at::zeros({each}, at::TensorOptions(at::kFloat).device(device));
  }
};

}  // namespace

double median_seconds(int rounds, const std::function<void()>& call) {
  for (int i = 0; i < kWarmUp; ++i) call();
  std::vector<double> times;
  for (int i = 0; i < rounds; ++i) {
    const auto start = std::chrono::steady_clock::now();
    call();
    times.push_back(
        std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count());
  }
  std::nth_element(times.begin(), times.begin() + rounds / 2, times.end());
  return times[static_cast<std::size_t>(rounds / 2)];
}

Measurement measure_matmul(const planner::Operation& matmul, at::ScalarType type,
                           at::Device device) {
  MatmulTensors tensors(matmul, type, device);
  return {matmul.flops.value, median_seconds(kRounds, [&] {
            tensors.run();
            synchronize(device);
          })};
}

Measurement measure_elementwise(std::int64_t elements, at::Device device) {
  const at::TensorOptions options = at::TensorOptions(at::kFloat).device(device);
  const at::Tensor a = at::ones({elements}, options);
  const at::Tensor b = at::ones({elements}, options);
  at::Tensor out = at::empty({elements}, options);
  return {static_cast<double>(elements) * 12, median_seconds(kRounds, [&] {
            at::add_out(out, a, b);
            synchronize(device);
          })};
}

Measurement measure_collective(Communicator& group, CollectiveKind kind, std::int64_t elements,
                               at::Device device) {
  CollectiveTensors tensors(group, elements, device);
  const auto call = [&] {
    switch (kind) {
      case CollectiveKind::kAllReduce:
        group.all_reduce(tensors.whole, ReduceOp::kSum).wait();
        break;
      case CollectiveKind::kAllGather:
        group.all_gather(tensors.whole, tensors.part).wait();
        break;
      case CollectiveKind::kReduceScatter:
        group.reduce_scatter(tensors.part, tensors.whole).wait();
        break;
      case CollectiveKind::kSend:
      case CollectiveKind::kAllToAll:
        throw common::Error(common::ErrorCode::kInternal, "is not measured", to_string(kind));
    }
    synchronize(device);
  };
  const auto bytes = common::Bytes(static_cast<std::int64_t>(tensors.whole.nbytes()));
  return {static_cast<double>(planner::wire_bytes(kind, bytes, group.size()).value),
          median_seconds(kRounds, call)};
}

double measure_overlap(Communicator& group, const planner::Operation& matmul, at::Device device) {
  MatmulTensors tensors(matmul, at::kFloat, device);
  CollectiveTensors buffers(group, 1 << 19, device);
  const double communication = median_seconds(kRounds, [&] {
    group.all_gather(buffers.whole, buffers.part).wait();
    synchronize(device);
  });
  const double once = median_seconds(kRounds, [&] {
    tensors.run();
    synchronize(device);
  });
  // Compute that lasts about as long as the collective.
  const int repeats = std::max(1, static_cast<int>(communication / once));
  const auto compute_all = [&] {
    for (int i = 0; i < repeats; ++i) tensors.run();
  };
  const double compute = median_seconds(kRounds, [&] {
    compute_all();
    synchronize(device);
  });
  const double both = median_seconds(kRounds, [&] {
    Pending pending = group.all_gather(buffers.whole, buffers.part);
    compute_all();
    pending.wait();
    synchronize(device);
  });
  return std::clamp((compute + communication - both) / communication, 0.0, 1.0);
}

}  // namespace meshplan::executor

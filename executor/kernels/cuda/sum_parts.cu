#include "executor/kernels/cuda/device_code.h"
#include "executor/kernels/cuda/kernels.h"

namespace meshplan::executor::device {
namespace {

constexpr int kGroups = 16;

/// Each block sums kWarp columns; its warps share the rows.
template <class T>
__global__ void sum_parts_kernel(const float* partial, std::int64_t parts, std::int64_t width,
                                 T* grad_weight) {
  __shared__ float sums[kGroups][kWarp];
  const int lane = static_cast<int>(threadIdx.x) % kWarp;
  const int group = static_cast<int>(threadIdx.x) / kWarp;
  const std::int64_t column = static_cast<std::int64_t>(blockIdx.x) * kWarp + lane;
  float sum = 0;
  for (std::int64_t part = group; column < width && part < parts; part += kGroups)
    sum += partial[part * width + column];
  sums[group][lane] = sum;
  __syncthreads();
  if (group != 0 || column >= width) return;
  for (int other = 1; other < kGroups; ++other) sum += sums[other][lane];
  store_rounded(grad_weight[column], sum);
}

}  // namespace

int sum_parts(const MeshplanKernelCall& call, const float* partial, std::int64_t parts,
              std::int64_t width, void* grad_weight) {
  return visit_elements(call, [&]<class T>() {
    return launch(sum_parts_kernel<T>, call,
                  {.x = divide_up(width, kWarp), .threads = kGroups * kWarp}, partial, parts, width,
                  static_cast<T*>(grad_weight));
  });
}

}  // namespace meshplan::executor::device

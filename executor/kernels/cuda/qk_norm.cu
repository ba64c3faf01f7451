#include "executor/kernels/cuda/device_code.h"
#include "executor/kernels/cuda/kernels.h"

namespace meshplan::executor::device {
namespace {

constexpr int kWarps = 8;

/// 1 / sqrt(mean of squares + eps) of a head [2 * half]; all lanes of a warp call it.
template <class T>
__device__ float reciprocal_norm(const T* head, float eps, int half) {
  float sum = 0;
  for (int i = static_cast<int>(threadIdx.x) % kWarp; i < 2 * half; i += kWarp)
    sum += widen(head[i]) * widen(head[i]);
  return 1.0f / sqrtf(warp_reduce(sum, Sum()) / static_cast<float>(2 * half) + eps);
}

/// One head a warp; lane i has the pairs i, i + kWarp, ...
template <class T>
__global__ void forward_kernel(MeshplanRopeTable table, const T* source, std::int64_t source_stride,
                               const T* weight, float eps, T* destination,
                               std::int64_t destination_stride, std::int64_t rows,
                               std::int64_t heads) {
  const std::int64_t item = static_cast<std::int64_t>(blockIdx.x) * kWarps + threadIdx.x / kWarp;
  if (item >= rows * heads) return;
  const std::int64_t row = item / heads;
  const auto half = static_cast<int>(table.half);
  const std::int64_t angles = row % table.sequence * half;
  const std::int64_t place = item % heads * 2 * half;
  source += row * source_stride + place;
  destination += row * destination_stride + place;
  const float scale = reciprocal_norm(source, eps, half);
  for (int i = static_cast<int>(threadIdx.x) % kWarp; i < half; i += kWarp) {
    const float first = widen(source[i]) * scale * widen(weight[i]);
    const float second = widen(source[half + i]) * scale * widen(weight[half + i]);
    const float cos = table.cos[angles + i];
    const float sin = table.sin[angles + i];
    store_rounded(destination[i], first * cos - second * sin);
    store_rounded(destination[half + i], second * cos + first * sin);
  }
}

/// The gradient before the rotation of pair i.
struct UnrotatedPair {
  float first;
  float second;
};

template <class T>
__device__ UnrotatedPair unrotated(const T* grad, float cos, float sin, int i, int half) {
  const float first = widen(grad[i]);
  const float second = widen(grad[half + i]);
  return {first * cos + second * sin, second * cos - first * sin};
}

/// Heads [blockIdx.x * each, ...), one a warp at a time. Each warp sums its heads' share of the
/// weight's gradient in shared memory; row blockIdx.x of partial is the sum over warps.
template <class T>
__global__ void backward_kernel(MeshplanRopeTable table, T* source, std::int64_t source_stride,
                                const T* weight, float eps, const T* grad, std::int64_t grad_stride,
                                float* partial, std::int64_t items, std::int64_t heads,
                                std::int64_t each) {
  __shared__ float sums[kWarps][kMeshplanMaxHeadDim];
  const int lane = static_cast<int>(threadIdx.x) % kWarp;
  const int warp = static_cast<int>(threadIdx.x) / kWarp;
  const auto half = static_cast<int>(table.half);
  for (int i = lane; i < half; i += kWarp) sums[warp][i] = sums[warp][half + i] = 0;

  const std::int64_t begin = static_cast<std::int64_t>(blockIdx.x) * each;
  const std::int64_t end = begin + each < items ? begin + each : items;
  for (std::int64_t item = begin + warp; item < end; item += kWarps) {
    const std::int64_t row = item / heads;
    const std::int64_t angles = row % table.sequence * half;
    const std::int64_t place = item % heads * 2 * half;
    T* const x = source + row * source_stride + place;
    const T* const g = grad + row * grad_stride + place;
    const float scale = reciprocal_norm(x, eps, half);
    float dot = 0;
    for (int i = lane; i < half; i += kWarp) {
      const UnrotatedPair pair =
          unrotated(g, table.cos[angles + i], table.sin[angles + i], i, half);
      const float first = pair.first * widen(x[i]);
      const float second = pair.second * widen(x[half + i]);
      sums[warp][i] += first * scale;
      sums[warp][half + i] += second * scale;
      dot += first * widen(weight[i]) + second * widen(weight[half + i]);
    }
    dot = warp_reduce(dot, Sum());
    const float along_x = dot * scale * scale * scale / static_cast<float>(2 * half);
    for (int i = lane; i < half; i += kWarp) {
      const UnrotatedPair pair =
          unrotated(g, table.cos[angles + i], table.sin[angles + i], i, half);
      const float first = pair.first * widen(weight[i]) * scale - widen(x[i]) * along_x;
      const float second =
          pair.second * widen(weight[half + i]) * scale - widen(x[half + i]) * along_x;
      store_rounded(x[i], first);
      store_rounded(x[half + i], second);
    }
  }
  __syncthreads();
  for (int i = static_cast<int>(threadIdx.x); i < 2 * half; i += static_cast<int>(blockDim.x)) {
    float sum = 0;
    for (int other = 0; other < kWarps; ++other) sum += sums[other][i];
    partial[static_cast<std::int64_t>(blockIdx.x) * 2 * half + i] = sum;
  }
}

}  // namespace

int norm_and_rotate(const MeshplanKernelCall* call, const MeshplanRopeTable* table,
                    MeshplanRows source, const void* weight, float eps, MeshplanRows destination,
                    std::int64_t rows, std::int64_t heads) {
  return visit_elements(*call, [&]<class T>() {
    return launch(forward_kernel<T>, *call,
                  {.x = divide_up(rows * heads, kWarps), .threads = kWarps * kWarp}, *table,
                  static_cast<const T*>(source.data), source.stride, static_cast<const T*>(weight),
                  eps, static_cast<T*>(destination.data), destination.stride, rows, heads);
  });
}

int norm_and_rotate_backward(const MeshplanKernelCall* call, const MeshplanRopeTable* table,
                             MeshplanRows source, const void* weight, float eps, MeshplanRows grad,
                             void* grad_weight, float* partial, std::int64_t rows,
                             std::int64_t heads) {
  if (2 * table->half > kMeshplanMaxHeadDim) return 1;
  const std::int64_t items = rows * heads;
  const std::int64_t each = divide_up(items, kMeshplanParts);
  const std::int64_t parts = items == 0 ? 0 : divide_up(items, each);
  const int failed = visit_elements(*call, [&]<class T>() {
    return launch(backward_kernel<T>, *call, {.x = parts, .threads = kWarps * kWarp}, *table,
                  static_cast<T*>(source.data), source.stride, static_cast<const T*>(weight), eps,
                  static_cast<const T*>(grad.data), grad.stride, partial, items, heads, each);
  });
  return failed != 0 ? failed : sum_parts(*call, partial, parts, 2 * table->half, grad_weight);
}

}  // namespace meshplan::executor::device

#include "executor/kernels/cuda/device_code.h"
#include "executor/kernels/cuda/kernels.h"

namespace meshplan::executor::device {
namespace {

/// One row a block. kStatistics: rstd is computed and written, not read.
template <class T, int V, bool kStatistics>
__global__ void forward_kernel(const T* x, const T* weight, float eps, float* rstd, T* out,
                               std::int64_t width) {
  const auto row = static_cast<std::int64_t>(blockIdx.x);
  const std::int64_t first = static_cast<std::int64_t>(threadIdx.x) * V;
  const std::int64_t stride = static_cast<std::int64_t>(blockDim.x) * V;
  x += row * width;
  out += row * width;
  float scale = 0;
  if constexpr (kStatistics) {
    float sum = 0;
    for (std::int64_t j = first; j < width; j += stride) {
      const Pack<T, V> values = load<T, V>(x + j);
      for (int v = 0; v < V; ++v) sum += widen(values.values[v]) * widen(values.values[v]);
    }
    scale = 1.0f / sqrtf(block_reduce(sum, Sum()) / static_cast<float>(width) + eps);
    if (threadIdx.x == 0) rstd[row] = scale;
  } else {
    scale = rstd[row];
  }
  for (std::int64_t j = first; j < width; j += stride) {
    const Pack<T, V> values = load<T, V>(x + j);
    const Pack<T, V> weights = load<T, V>(weight + j);
    Pack<T, V> result;
    for (int v = 0; v < V; ++v)
      store_rounded(result.values[v], widen(values.values[v]) * scale * widen(weights.values[v]));
    store<T, V>(out + j, result);
  }
}

/// Rows [blockIdx.x * rows_each, ...): writes their grad_x, and to row blockIdx.x of partial their
/// share of the weight's gradient, which grows in shared memory: each thread's columns are its own.
template <class T, int V, bool kResidual>
__global__ void backward_kernel(const T* x, const T* weight, const float* rstd, const T* grad_out,
                                T* grad_x, float* partial, std::int64_t rows, std::int64_t width,
                                std::int64_t rows_each) {
  float* sums = dynamic_shared();
  const std::int64_t first = static_cast<std::int64_t>(threadIdx.x) * V;
  const std::int64_t stride = static_cast<std::int64_t>(blockDim.x) * V;
  for (std::int64_t j = first; j < width; j += stride)
    for (int v = 0; v < V; ++v) sums[j + v] = 0;

  const std::int64_t begin = static_cast<std::int64_t>(blockIdx.x) * rows_each;
  const std::int64_t end = begin + rows_each < rows ? begin + rows_each : rows;
  for (std::int64_t row = begin; row < end; ++row) {
    const float scale = rstd[row];
    const std::int64_t offset = row * width;
    float dot = 0;
    for (std::int64_t j = first; j < width; j += stride) {
      const Pack<T, V> values = load<T, V>(x + offset + j);
      const Pack<T, V> grads = load<T, V>(grad_out + offset + j);
      const Pack<T, V> weights = load<T, V>(weight + j);
      for (int v = 0; v < V; ++v) {
        const float product = widen(grads.values[v]) * widen(values.values[v]);
        sums[j + v] += product * scale;
        dot += product * widen(weights.values[v]);
      }
    }
    dot = block_reduce(dot, Sum());
    const float along_x = dot * scale * scale * scale / static_cast<float>(width);
    for (std::int64_t j = first; j < width; j += stride) {
      const Pack<T, V> values = load<T, V>(x + offset + j);
      const Pack<T, V> grads = load<T, V>(grad_out + offset + j);
      const Pack<T, V> weights = load<T, V>(weight + j);
      Pack<T, V> result{};
      if constexpr (kResidual) result = load<T, V>(grad_x + offset + j);
      for (int v = 0; v < V; ++v) {
        const float across = widen(grads.values[v]) * widen(weights.values[v]) * scale -
                             widen(values.values[v]) * along_x;
        store_rounded(result.values[v], kResidual ? widen(result.values[v]) + across : across);
      }
      store<T, V>(grad_x + offset + j, result);
    }
  }
  for (std::int64_t j = first; j < width; j += stride)
    for (int v = 0; v < V; ++v)
      partial[static_cast<std::int64_t>(blockIdx.x) * width + j + v] = sums[j + v];
}

template <bool kStatistics>
int forward(const MeshplanKernelCall& call, const void* x, const void* weight, float eps, void* out,
            float* rstd, std::int64_t rows, std::int64_t width) {
  const bool aligned = are_aligned(x, weight, out);
  return visit_vectors(
      call, aligned && width % 4 == 0, aligned && width % 8 == 0, [&]<class T, int V>() {
        return launch(forward_kernel<T, V, kStatistics>, call,
                      {.x = rows, .threads = threads_for(width / V)}, static_cast<const T*>(x),
                      static_cast<const T*>(weight), eps, rstd, static_cast<T*>(out), width);
      });
}

}  // namespace

int rms_norm(const MeshplanKernelCall* call, const void* x, const void* weight, float eps,
             void* out, float* rstd, std::int64_t rows, std::int64_t width) {
  return forward<true>(*call, x, weight, eps, out, rstd, rows, width);
}

int apply_rms_norm(const MeshplanKernelCall* call, const void* x, const void* weight,
                   const float* rstd, void* out, std::int64_t rows, std::int64_t width) {
  return forward<false>(*call, x, weight, 0.0f, out, const_cast<float*>(rstd), rows, width);
}

int rms_norm_backward(const MeshplanKernelCall* call, const void* x, const void* weight,
                      const float* rstd, const void* grad_out, void* grad_x, void* grad_weight,
                      float* partial, std::int64_t rows, std::int64_t width, bool residual) {
  if (width > kMeshplanMaxNormWidth) return 1;
  // The number of parts depends on the shape alone, and with it the order of the sums.
  const std::int64_t rows_each = divide_up(rows, kMeshplanParts);
  const std::int64_t parts = rows == 0 ? 0 : divide_up(rows, rows_each);
  const bool aligned = are_aligned(x, weight, grad_out, grad_x);
  const int failed = visit_vectors(
      *call, aligned && width % 4 == 0, aligned && width % 8 == 0, [&]<class T, int V>() {
        return launch(residual ? backward_kernel<T, V, true> : backward_kernel<T, V, false>, *call,
                      {.x = parts,
                       .threads = threads_for(width / V),
                       .shared_bytes = width * static_cast<std::int64_t>(sizeof(float))},
                      static_cast<const T*>(x), static_cast<const T*>(weight), rstd,
                      static_cast<const T*>(grad_out), static_cast<T*>(grad_x), partial, rows,
                      width, rows_each);
      });
  return failed != 0 ? failed : sum_parts(*call, partial, parts, width, grad_weight);
}

}  // namespace meshplan::executor::device

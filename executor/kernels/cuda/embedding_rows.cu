#include "executor/kernels/cuda/device_code.h"
#include "executor/kernels/cuda/kernels.h"

namespace meshplan::executor::device {
namespace {

constexpr int kThreads = 256;

__device__ bool holds(const MeshplanVocabularySlice& slice, std::int64_t id) {
  return id >= slice.start && id < slice.start + slice.rows;
}

template <int V>
__device__ std::int64_t own_column() {
  return (static_cast<std::int64_t>(blockIdx.y) * blockDim.x + threadIdx.x) * V;
}

template <class T, int V>
__global__ void gather_kernel(const T* weight, const std::int64_t* ids, T* out,
                              MeshplanVocabularySlice slice, std::int64_t width) {
  const std::int64_t column = own_column<V>();
  if (column >= width) return;
  const auto token = static_cast<std::int64_t>(blockIdx.x);
  const std::int64_t id = ids[token];
  Pack<T, V> values;
  if (holds(slice, id)) {
    values = load<T, V>(weight + (id - slice.start) * width + column);
  } else {
    for (int v = 0; v < V; ++v) store_rounded(values.values[v], 0.0f);
  }
  store<T, V>(out + token * width + column, values);
}

/// The first place from `first` on where another id stands.
__device__ std::int64_t end_of_run(const std::int64_t* sorted_ids, std::int64_t first,
                                   std::int64_t tokens) {
  std::int64_t low = first + 1;
  std::int64_t high = tokens;
  while (low < high) {
    const std::int64_t middle = low + (high - low) / 2;
    if (sorted_ids[middle] == sorted_ids[first]) {
      low = middle + 1;
    } else {
      high = middle;
    }
  }
  return low;
}

/// Blocks at the first place of an id add up the rows of all its tokens; the others have nothing
/// to do.
template <class T, int V>
__global__ void add_kernel(const T* grad_out, const std::int64_t* sorted_ids,
                           const std::int64_t* order, T* grad_weight, MeshplanVocabularySlice slice,
                           std::int64_t tokens, std::int64_t width) {
  const auto first = static_cast<std::int64_t>(blockIdx.x);
  const std::int64_t id = sorted_ids[first];
  const std::int64_t column = own_column<V>();
  if (column >= width || !holds(slice, id)) return;
  if (first > 0 && sorted_ids[first - 1] == id) return;
  const std::int64_t end = end_of_run(sorted_ids, first, tokens);
  T* const target = grad_weight + (id - slice.start) * width + column;
  Pack<T, V> result = load<T, V>(target);
  float sums[V];
  for (int v = 0; v < V; ++v) sums[v] = widen(result.values[v]);
#pragma unroll 4
  for (std::int64_t place = first; place < end; ++place) {
    const Pack<T, V> values = load<T, V>(grad_out + order[place] * width + column);
    for (int v = 0; v < V; ++v) sums[v] += widen(values.values[v]);
  }
  for (int v = 0; v < V; ++v) store_rounded(result.values[v], sums[v]);
  store<T, V>(target, result);
}

template <int V>
Grid grid_for(std::int64_t tokens, std::int64_t width) {
  return {.x = tokens, .y = divide_up(width, V * kThreads), .threads = kThreads};
}

}  // namespace

int gather_rows(const MeshplanKernelCall* call, const void* weight, const std::int64_t* ids,
                void* out, MeshplanVocabularySlice slice, std::int64_t tokens, std::int64_t width) {
  const bool aligned = are_aligned(weight, out);
  return visit_vectors(
      *call, aligned && width % 4 == 0, aligned && width % 8 == 0, [&]<class T, int V>() {
        return launch(gather_kernel<T, V>, *call, grid_for<V>(tokens, width),
                      static_cast<const T*>(weight), ids, static_cast<T*>(out), slice, width);
      });
}

int add_rows(const MeshplanKernelCall* call, const void* grad_out, const std::int64_t* sorted_ids,
             const std::int64_t* order, void* grad_weight, MeshplanVocabularySlice slice,
             std::int64_t tokens, std::int64_t width) {
  const bool aligned = are_aligned(grad_out, grad_weight);
  return visit_vectors(*call, aligned && width % 4 == 0, aligned && width % 8 == 0,
                       [&]<class T, int V>() {
                         return launch(add_kernel<T, V>, *call, grid_for<V>(tokens, width),
                                       static_cast<const T*>(grad_out), sorted_ids, order,
                                       static_cast<T*>(grad_weight), slice, tokens, width);
                       });
}

}  // namespace meshplan::executor::device

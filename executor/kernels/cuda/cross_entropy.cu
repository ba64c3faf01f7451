#include "executor/kernels/cuda/device_code.h"
#include "executor/kernels/cuda/kernels.h"

namespace meshplan::executor::device {
namespace {

/// The label of a token that is not trained on (executor/kernels/vocabulary.h).
constexpr std::int64_t kIgnored = -100;
constexpr int kThreads = 512;

/// body(pack's first column, V as a type's value) for each of this thread's packs, then for the
/// columns that fill none.
template <int V, class Body>
__device__ void for_own_columns(std::int64_t columns, const Body& body) {
  const std::int64_t whole = columns / V * V;
  for (std::int64_t j = static_cast<std::int64_t>(threadIdx.x) * V; j < whole;
       j += static_cast<std::int64_t>(blockDim.x) * V)
    body.template operator()<V>(j);
  for (std::int64_t j = whole + threadIdx.x; j < columns; j += blockDim.x)
    body.template operator()<1>(j);
}

__device__ bool holds(const MeshplanVocabularySlice& slice, std::int64_t label) {
  return label >= slice.start && label < slice.start + slice.rows;
}

template <int V>
__global__ void max_kernel(const float* logits, float* max, MeshplanVocabularySlice slice,
                           std::int64_t width) {
  const float* row = logits + static_cast<std::int64_t>(blockIdx.x) * width;
  float largest = -INFINITY;
  for_own_columns<V>(slice.rows, [&]<int N>(std::int64_t j) {
    const Pack<float, N> values = load<float, N>(row + j);
    for (int v = 0; v < N; ++v) largest = Max()(largest, values.values[v]);
  });
  largest = block_reduce(largest, Max());
  if (threadIdx.x == 0) max[blockIdx.x] = largest;
}

template <int V>
__global__ void exp_kernel(float* logits, const float* max, const std::int64_t* labels, float* sums,
                           MeshplanVocabularySlice slice, std::int64_t rows, std::int64_t width) {
  const auto row_index = static_cast<std::int64_t>(blockIdx.x);
  float* row = logits + row_index * width;
  const float row_max = max[row_index];
  if (threadIdx.x == 0) {
    const std::int64_t label = labels[row_index];
    sums[rows + row_index] = holds(slice, label) ? row[label - slice.start] - row_max : 0.0f;
  }
  // The label's logit has been read before it is overwritten.
  __syncthreads();
  float sum = 0;
  for_own_columns<V>(slice.rows, [&]<int N>(std::int64_t j) {
    Pack<float, N> values = load<float, N>(row + j);
    for (int v = 0; v < N; ++v) {
      values.values[v] = expf(values.values[v] - row_max);
      sum += values.values[v];
    }
    store<float, N>(row + j, values);
  });
  sum = block_reduce(sum, Sum());
  if (threadIdx.x == 0) sums[row_index] = sum;
}

template <class T, int V>
__global__ void gradient_kernel(const float* exps, const float* sums, const std::int64_t* labels,
                                float scale, T* gradient, MeshplanVocabularySlice slice,
                                std::int64_t width) {
  const auto row_index = static_cast<std::int64_t>(blockIdx.x);
  const float* row = exps + row_index * width;
  T* out = gradient + row_index * width;
  const std::int64_t label = labels[row_index];
  const bool ignored = label == kIgnored;
  const float factor = ignored ? 0.0f : scale / sums[row_index];
  // -1 is no column.
  const std::int64_t label_column = holds(slice, label) ? label - slice.start : -1;
  for_own_columns<V>(width, [&]<int N>(std::int64_t j) {
    const Pack<float, N> values = load<float, N>(row + j);
    Pack<T, N> result;
    for (int v = 0; v < N; ++v) {
      const std::int64_t column = j + v;
      // Chosen, not multiplied by 0: padding may hold anything.
      const float slope = ignored || column >= slice.rows ? 0.0f : values.values[v] * factor;
      store_rounded(result.values[v], column == label_column ? slope - scale : slope);
    }
    store<T, N>(out + j, result);
  });
}

__global__ void loss_kernel(const float* sums, const std::int64_t* labels, float* losses,
                            std::int64_t rows) {
  const std::int64_t row = static_cast<std::int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
  if (row >= rows) return;
  losses[row] = labels[row] == kIgnored ? 0.0f : logf(sums[row]) - sums[rows + row];
}

/// kernel(V as a type's value) with 4 columns at a time where rows begin at 16 bytes.
template <class Body>
int visit_columns(const void* logits, const void* other, std::int64_t width, const Body& body) {
  const bool aligned = are_aligned(logits, other) && width % 4 == 0;
  return aligned ? body.template operator()<4>() : body.template operator()<1>();
}

}  // namespace

int cross_entropy_max(const MeshplanKernelCall* call, const float* logits, float* max,
                      MeshplanVocabularySlice slice, std::int64_t rows, std::int64_t width) {
  return visit_columns(logits, logits, width, [&]<int V>() {
    return launch(max_kernel<V>, *call, {.x = rows, .threads = kThreads}, logits, max, slice,
                  width);
  });
}

int cross_entropy_exp(const MeshplanKernelCall* call, float* logits, const float* max,
                      const std::int64_t* labels, float* sums, MeshplanVocabularySlice slice,
                      std::int64_t rows, std::int64_t width) {
  return visit_columns(logits, logits, width, [&]<int V>() {
    return launch(exp_kernel<V>, *call, {.x = rows, .threads = kThreads}, logits, max, labels, sums,
                  slice, rows, width);
  });
}

int cross_entropy_gradient(const MeshplanKernelCall* call, const float* exps, const float* sums,
                           const std::int64_t* labels, float scale, float* losses, void* gradient,
                           MeshplanVocabularySlice slice, std::int64_t rows, std::int64_t width) {
  const int failed =
      launch(loss_kernel, *call, {.x = divide_up(rows, kThreads), .threads = kThreads}, sums,
             labels, losses, rows);
  if (failed != 0 || gradient == nullptr) return failed;
  return visit_elements(*call, [&]<class T>() {
    return visit_columns(exps, gradient, width, [&]<int V>() {
      return launch(gradient_kernel<T, V>, *call, {.x = rows, .threads = kThreads}, exps, sums,
                    labels, scale, static_cast<T*>(gradient), slice, width);
    });
  });
}

}  // namespace meshplan::executor::device

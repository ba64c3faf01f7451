#include "executor/kernels/cuda/device_code.h"
#include "executor/kernels/cuda/kernels.h"

namespace meshplan::executor::device {
namespace {

constexpr int kThreads = 256;

/// This thread's first column of row blockIdx.x.
template <int V>
__device__ std::int64_t own_column() {
  return (static_cast<std::int64_t>(blockIdx.y) * blockDim.x + threadIdx.x) * V;
}

template <class T, int V>
__global__ void forward_kernel(const T* gate_up, T* act, std::int64_t width) {
  const std::int64_t column = own_column<V>();
  if (column >= width) return;
  const auto row = static_cast<std::int64_t>(blockIdx.x);
  const Pack<T, V> gates = load<T, V>(gate_up + row * 2 * width + column);
  const Pack<T, V> ups = load<T, V>(gate_up + row * 2 * width + width + column);
  Pack<T, V> result;
  for (int v = 0; v < V; ++v) {
    const float gate = widen(gates.values[v]);
    store_rounded(result.values[v], gate / (1.0f + expf(-gate)) * widen(ups.values[v]));
  }
  store<T, V>(act + row * width + column, result);
}

template <class T, int V>
__global__ void backward_kernel(T* gate_up, const T* grad_act, std::int64_t width) {
  const std::int64_t column = own_column<V>();
  if (column >= width) return;
  const auto row = static_cast<std::int64_t>(blockIdx.x);
  T* const gate_place = gate_up + row * 2 * width + column;
  Pack<T, V> gates = load<T, V>(gate_place);
  Pack<T, V> ups = load<T, V>(gate_place + width);
  const Pack<T, V> grads = load<T, V>(grad_act + row * width + column);
  for (int v = 0; v < V; ++v) {
    const float gate = widen(gates.values[v]);
    const float up = widen(ups.values[v]);
    const float grad = widen(grads.values[v]);
    const float sigmoid = 1.0f / (1.0f + expf(-gate));
    const float silu = gate * sigmoid;
    store_rounded(gates.values[v], grad * up * (sigmoid + silu * (1.0f - sigmoid)));
    store_rounded(ups.values[v], grad * silu);
  }
  store<T, V>(gate_place, gates);
  store<T, V>(gate_place + width, ups);
}

template <int V>
Grid grid_for(std::int64_t rows, std::int64_t width) {
  return {.x = rows, .y = divide_up(width, V * kThreads), .threads = kThreads};
}

}  // namespace

int swiglu(const MeshplanKernelCall* call, const void* gate_up, void* act, std::int64_t rows,
           std::int64_t width) {
  const bool aligned = are_aligned(gate_up, act);
  return visit_vectors(*call, aligned && width % 4 == 0, aligned && width % 8 == 0,
                       [&]<class T, int V>() {
                         return launch(forward_kernel<T, V>, *call, grid_for<V>(rows, width),
                                       static_cast<const T*>(gate_up), static_cast<T*>(act), width);
                       });
}

int swiglu_backward(const MeshplanKernelCall* call, void* gate_up, const void* grad_act,
                    std::int64_t rows, std::int64_t width) {
  const bool aligned = are_aligned(gate_up, grad_act);
  return visit_vectors(
      *call, aligned && width % 4 == 0, aligned && width % 8 == 0, [&]<class T, int V>() {
        return launch(backward_kernel<T, V>, *call, grid_for<V>(rows, width),
                      static_cast<T*>(gate_up), static_cast<const T*>(grad_act), width);
      });
}

}  // namespace meshplan::executor::device

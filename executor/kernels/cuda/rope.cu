#include "executor/kernels/cuda/device_code.h"
#include "executor/kernels/cuda/kernels.h"

namespace meshplan::executor::device {
namespace {

/// One row a block. A thread turns V pairs of a head at a time.
template <class T, int V>
__global__ void rotate_kernel(MeshplanRopeTable table, float sign, const T* source,
                              std::int64_t source_stride, T* destination,
                              std::int64_t destination_stride, int heads) {
  const auto row = static_cast<std::int64_t>(blockIdx.x);
  const std::int64_t angles = row % table.sequence * table.half;
  const auto half = static_cast<int>(table.half);
  const int each = half / V;
  source += row * source_stride;
  destination += row * destination_stride;
  for (int item = static_cast<int>(threadIdx.x); item < heads * each;
       item += static_cast<int>(blockDim.x)) {
    const int pair = item % each * V;
    const int place = item / each * 2 * half + pair;
    const Pack<float, V> cos = load<float, V>(table.cos + angles + pair);
    const Pack<float, V> sin = load<float, V>(table.sin + angles + pair);
    Pack<T, V> firsts = load<T, V>(source + place);
    Pack<T, V> seconds = load<T, V>(source + place + half);
    for (int v = 0; v < V; ++v) {
      const float first = widen(firsts.values[v]);
      const float second = widen(seconds.values[v]);
      const float s = sin.values[v] * sign;
      store_rounded(firsts.values[v], first * cos.values[v] - second * s);
      store_rounded(seconds.values[v], second * cos.values[v] + first * s);
    }
    store<T, V>(destination + place, firsts);
    store<T, V>(destination + place + half, seconds);
  }
}

}  // namespace

int rotate(const MeshplanKernelCall* call, const MeshplanRopeTable* table, float sign,
           MeshplanRows source, MeshplanRows destination, std::int64_t rows, std::int64_t heads) {
  const auto aligned_for = [&](std::int64_t vector) {
    return are_aligned(source.data, destination.data) && is_aligned(table->cos, 32) &&
           is_aligned(table->sin, 32) && table->half % vector == 0 && source.stride % vector == 0 &&
           destination.stride % vector == 0;
  };
  return visit_vectors(*call, aligned_for(4), aligned_for(8), [&]<class T, int V>() {
    return launch(rotate_kernel<T, V>, *call,
                  {.x = rows, .threads = threads_for(heads * table->half / V)}, *table, sign,
                  static_cast<const T*>(source.data), source.stride,
                  static_cast<T*>(destination.data), destination.stride, static_cast<int>(heads));
  });
}

}  // namespace meshplan::executor::device

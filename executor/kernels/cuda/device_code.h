#pragma once

#include <cstdint>

#include "executor/kernels/cuda/kernel_table.h"

#ifdef MESHPLAN_SIMT_ON_HOST
// The kernels run thread by thread on the CPU: for tests on machines without a GPU.
#include "tests/executor/simt_on_host.h"
#else
#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <cuda_runtime.h>

namespace meshplan::executor::device {

using Bfloat16 = __nv_bfloat16;
using Float16 = __half;

__device__ inline float widen(float value) { return value; }
__device__ inline float widen(Bfloat16 value) { return __bfloat162float(value); }
__device__ inline float widen(Float16 value) { return __half2float(value); }

/// Rounded to nearest.
__device__ inline void store_rounded(float& element, float value) { element = value; }
__device__ inline void store_rounded(Bfloat16& element, float value) {
  element = __float2bfloat16_rn(value);
}
__device__ inline void store_rounded(Float16& element, float value) {
  element = __float2half_rn(value);
}

/// The block's shared memory whose size the launch gave.
__device__ inline float* dynamic_shared() {
  extern __shared__ float4 meshplan_dynamic_shared[];
  return reinterpret_cast<float*>(meshplan_dynamic_shared);
}

struct Grid {
  std::int64_t x;
  std::int64_t y = 1;
  int threads = 256;
  std::int64_t shared_bytes = 0;
};

/// Returns a cudaError_t.
template <class... Parameters, class... Arguments>
int launch(void (*kernel)(Parameters...), const MeshplanKernelCall& call, const Grid& grid,
           Arguments... arguments) {
  if (grid.x == 0 || grid.y == 0) return cudaSuccess;
  constexpr std::int64_t kSharedWithoutAsking = 48 * 1024;
  if (grid.shared_bytes > kSharedWithoutAsking) {
    const cudaError_t refused = cudaFuncSetAttribute(reinterpret_cast<const void*>(kernel),
                                                     cudaFuncAttributeMaxDynamicSharedMemorySize,
                                                     static_cast<int>(grid.shared_bytes));
    if (refused != cudaSuccess) return refused;
  }
  const dim3 blocks(static_cast<unsigned>(grid.x), static_cast<unsigned>(grid.y));
  kernel<<<blocks, static_cast<unsigned>(grid.threads), static_cast<std::size_t>(grid.shared_bytes),
           static_cast<cudaStream_t>(call.stream)>>>(arguments...);
  return cudaGetLastError();
}

inline const char* describe_error(int error) {
  return cudaGetErrorString(static_cast<cudaError_t>(error));
}

}  // namespace meshplan::executor::device
#endif

/// What the kernels share. Arithmetic and statistics are float; a thread that reads an element and
/// then writes its place is the only one to touch it, so that results may lie where inputs did.
namespace meshplan::executor::device {

constexpr int kWarp = 32;
constexpr unsigned kAllLanes = 0xffffffffu;

/// V elements that are read or written by one instruction.
template <class T, int V>
struct alignas(sizeof(T) * V) Pack {
  T values[V];
};

template <class T, int V>
__device__ inline Pack<T, V> load(const T* source) {
  return *reinterpret_cast<const Pack<T, V>*>(source);
}

template <class T, int V>
__device__ inline void store(T* destination, const Pack<T, V>& pack) {
  *reinterpret_cast<Pack<T, V>*>(destination) = pack;
}

struct Sum {
  __device__ float operator()(float a, float b) const { return a + b; }
};
struct Max {
  __device__ float operator()(float a, float b) const { return a > b ? a : b; }
};

/// Over the lanes of a warp; all lanes call it and get the result.
template <class Operation>
__device__ inline float warp_reduce(float value, Operation operation) {
  for (int distance = kWarp / 2; distance > 0; distance /= 2)
    value = operation(value, __shfl_xor_sync(kAllLanes, value, distance));
  return value;
}

/// Over the threads of a block, a multiple of kWarp; all call it and get the result.
template <class Operation>
__device__ inline float block_reduce(float value, Operation operation) {
  __shared__ float of_warps[kWarp];
  value = warp_reduce(value, operation);
  __syncthreads();
  if (threadIdx.x % kWarp == 0) of_warps[threadIdx.x / kWarp] = value;
  __syncthreads();
  float result = of_warps[0];
  for (unsigned warp = 1; warp < blockDim.x / kWarp; ++warp)
    result = operation(result, of_warps[warp]);
  return result;
}

/// Elements in 16 bytes.
template <class T>
constexpr int kVector = 16 / static_cast<int>(sizeof(T));

inline bool is_aligned(const void* pointer, std::size_t bytes) {
  return reinterpret_cast<std::uintptr_t>(pointer) % bytes == 0;
}

template <class... Pointers>
bool are_aligned(const Pointers*... pointers) {
  return (is_aligned(pointers, 16) && ...);
}

constexpr std::int64_t divide_up(std::int64_t count, std::int64_t each) {
  return (count + each - 1) / each;
}

/// Threads for `items` items, each thread taking one or several.
inline int threads_for(std::int64_t items, int most = 512) {
  const std::int64_t wanted = divide_up(items, kWarp) * kWarp;
  return static_cast<int>(wanted < kWarp ? kWarp : wanted > most ? most : wanted);
}

/// body.template operator()<T>() with the call's element type; cudaErrorInvalidValue (1) for none.
template <class Body>
int visit_elements(const MeshplanKernelCall& call, const Body& body) {
  switch (call.element_type) {
    case kMeshplanFloat32:
      return body.template operator()<float>();
    case kMeshplanBfloat16:
      return body.template operator()<Bfloat16>();
    case kMeshplanFloat16:
      return body.template operator()<Float16>();
    default:
      return 1;
  }
}

/// The same with V beside it: 16 bytes' elements where the caller found all aligned, else 1.
template <class Body>
int visit_vectors(const MeshplanKernelCall& call, bool aligned_for_4, bool aligned_for_8,
                  const Body& body) {
  return visit_elements(call, [&]<class T>() {
    const bool aligned = kVector<T> == 4 ? aligned_for_4 : aligned_for_8;
    return aligned ? body.template operator()<T, kVector<T>>() : body.template operator()<T, 1>();
  });
}

/// grad_weight [width] = the sum of `parts` rows of partial, in one order. Issued on the call's
/// stream.
int sum_parts(const MeshplanKernelCall& call, const float* partial, std::int64_t parts,
              std::int64_t width, void* grad_weight);

}  // namespace meshplan::executor::device

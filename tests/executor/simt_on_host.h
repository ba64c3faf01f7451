#pragma once

#include <c10/util/BFloat16.h>
#include <c10/util/Half.h>
#include <math.h>

#include <cstdint>
#include <functional>

/// Stands in for CUDA when the kernels of executor/kernels/cuda are compiled for the CPU: a block's
/// threads run one after another, each up to its next barrier. Wrong indices, rounding, reductions
/// and barriers that not all threads reach show here as they would on a GPU; speed and memory
/// ordering do not.

#define __global__
#define __device__
#define __shared__ static

namespace meshplan::executor::device {

using Bfloat16 = c10::BFloat16;
using Float16 = c10::Half;

inline float widen(float value) { return value; }
inline float widen(Bfloat16 value) { return static_cast<float>(value); }
inline float widen(Float16 value) { return static_cast<float>(value); }

template <class T>
void store_rounded(T& element, float value) {
  element = static_cast<T>(value);
}

struct Index {
  unsigned x = 0;
  unsigned y = 0;
};
inline Index threadIdx;
inline Index blockIdx;
inline Index blockDim;

struct Grid {
  std::int64_t x;
  std::int64_t y = 1;
  int threads = 256;
  std::int64_t shared_bytes = 0;
};

/// Returns when all threads of the block are here; throws where one has ended or waits elsewhere.
void __syncthreads();
/// The value that the lane `distance` away handed in, when all lanes of the warp are here.
float __shfl_xor_sync(unsigned lanes, float value, int distance);
/// Filled with NaN as each block starts.
float* dynamic_shared();

/// Runs every block of the grid.
void run_grid(const Grid& grid, const std::function<void()>& thread);

template <class... Parameters, class... Arguments>
int launch(void (*kernel)(Parameters...), const MeshplanKernelCall&, const Grid& grid,
           Arguments... arguments) {
  run_grid(grid, [&] { kernel(arguments...); });
  return 0;
}

inline const char* describe_error(int) { return "invalid argument"; }

}  // namespace meshplan::executor::device

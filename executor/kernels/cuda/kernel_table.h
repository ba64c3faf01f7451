#pragma once

#include <cstdint>

/// The interface of the kernel library, which holds meshplan's fused CUDA kernels. Plain C, without
/// PyTorch: the library is built by nvcc alone, on the machine where it runs if need be, and is
/// loaded at run time (executor/kernels/fused.h). Contracts are those of the functions of the same
/// name in executor/kernels, under the names there; dimensions are in elements.
extern "C" {

/// Grows with every change of what stands below.
constexpr int kMeshplanKernelVersion = 1;

enum MeshplanElementType { kMeshplanFloat32, kMeshplanBfloat16, kMeshplanFloat16 };

/// Work on one stream (a cudaStream_t) with matrices of one element type.
struct MeshplanKernelCall {
  void* stream;
  int element_type;
};

/// A matrix whose rows are `stride` elements apart, or a part of its columns.
struct MeshplanRows {
  void* data;
  std::int64_t stride;
};

/// Cosines and sines [sequence, half] in float32.
struct MeshplanRopeTable {
  const float* cos;
  const float* sin;
  std::int64_t sequence;
  std::int64_t half;
};

struct MeshplanVocabularySlice {
  std::int64_t start;
  std::int64_t rows;
};

/// Every function issues kernels and returns a cudaError_t, 0 where they were issued. `partial` is
/// workspace of kMeshplanParts x width floats.
struct MeshplanKernelTable {
  int version;

  int (*rms_norm)(const MeshplanKernelCall* call, const void* x, const void* weight, float eps,
                  void* out, float* rstd, std::int64_t rows, std::int64_t width);
  int (*apply_rms_norm)(const MeshplanKernelCall* call, const void* x, const void* weight,
                        const float* rstd, void* out, std::int64_t rows, std::int64_t width);
  /// grad_x += or, not `residual`, grad_x = J^T grad_out; grad_x may be grad_out.
  int (*rms_norm_backward)(const MeshplanKernelCall* call, const void* x, const void* weight,
                           const float* rstd, const void* grad_out, void* grad_x, void* grad_weight,
                           float* partial, std::int64_t rows, std::int64_t width, bool residual);

  /// sign: 1 rotates, -1 rotates back.
  int (*rotate)(const MeshplanKernelCall* call, const MeshplanRopeTable* table, float sign,
                MeshplanRows source, MeshplanRows destination, std::int64_t rows,
                std::int64_t heads);
  int (*norm_and_rotate)(const MeshplanKernelCall* call, const MeshplanRopeTable* table,
                         MeshplanRows source, const void* weight, float eps,
                         MeshplanRows destination, std::int64_t rows, std::int64_t heads);
  int (*norm_and_rotate_backward)(const MeshplanKernelCall* call, const MeshplanRopeTable* table,
                                  MeshplanRows source, const void* weight, float eps,
                                  MeshplanRows grad, void* grad_weight, float* partial,
                                  std::int64_t rows, std::int64_t heads);

  int (*swiglu)(const MeshplanKernelCall* call, const void* gate_up, void* act, std::int64_t rows,
                std::int64_t width);
  int (*swiglu_backward)(const MeshplanKernelCall* call, void* gate_up, const void* grad_act,
                         std::int64_t rows, std::int64_t width);

  /// logits [rows, width] in float32, whatever the call's element type.
  int (*cross_entropy_max)(const MeshplanKernelCall* call, const float* logits, float* max,
                           MeshplanVocabularySlice slice, std::int64_t rows, std::int64_t width);
  int (*cross_entropy_exp)(const MeshplanKernelCall* call, float* logits, const float* max,
                           const std::int64_t* labels, float* sums, MeshplanVocabularySlice slice,
                           std::int64_t rows, std::int64_t width);
  /// gradient in the call's element type, may be exps (for float32) or null.
  int (*cross_entropy_gradient)(const MeshplanKernelCall* call, const float* exps,
                                const float* sums, const std::int64_t* labels, float scale,
                                float* losses, void* gradient, MeshplanVocabularySlice slice,
                                std::int64_t rows, std::int64_t width);

  int (*gather_rows)(const MeshplanKernelCall* call, const void* weight, const std::int64_t* ids,
                     void* out, MeshplanVocabularySlice slice, std::int64_t tokens,
                     std::int64_t width);
  /// sorted_ids [tokens] ascending; order [tokens]: the row of grad_out that each stands for, rows
  /// of one id ascending too.
  int (*add_rows)(const MeshplanKernelCall* call, const void* grad_out,
                  const std::int64_t* sorted_ids, const std::int64_t* order, void* grad_weight,
                  MeshplanVocabularySlice slice, std::int64_t tokens, std::int64_t width);

  /// What an error number means.
  const char* (*describe_error)(int error);
};

constexpr std::int64_t kMeshplanParts = 256;
/// The widest row of rms_norm_backward, whose sums of columns lie in 96 KiB of shared memory; the
/// largest head of norm_and_rotate_backward.
constexpr std::int64_t kMeshplanMaxNormWidth = 24576;
constexpr std::int64_t kMeshplanMaxHeadDim = 512;

/// What the program looks up in the library.
const MeshplanKernelTable* meshplan_kernel_table();
}

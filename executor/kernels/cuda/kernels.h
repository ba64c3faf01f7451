#pragma once

#include "executor/kernels/cuda/kernel_table.h"

/// The functions that the kernel table points to, each in the file of its name.
namespace meshplan::executor::device {

int rms_norm(const MeshplanKernelCall* call, const void* x, const void* weight, float eps,
             void* out, float* rstd, std::int64_t rows, std::int64_t width);
int apply_rms_norm(const MeshplanKernelCall* call, const void* x, const void* weight,
                   const float* rstd, void* out, std::int64_t rows, std::int64_t width);
int rms_norm_backward(const MeshplanKernelCall* call, const void* x, const void* weight,
                      const float* rstd, const void* grad_out, void* grad_x, void* grad_weight,
                      float* partial, std::int64_t rows, std::int64_t width, bool residual);

int rotate(const MeshplanKernelCall* call, const MeshplanRopeTable* table, float sign,
           MeshplanRows source, MeshplanRows destination, std::int64_t rows, std::int64_t heads);
int norm_and_rotate(const MeshplanKernelCall* call, const MeshplanRopeTable* table,
                    MeshplanRows source, const void* weight, float eps, MeshplanRows destination,
                    std::int64_t rows, std::int64_t heads);
int norm_and_rotate_backward(const MeshplanKernelCall* call, const MeshplanRopeTable* table,
                             MeshplanRows source, const void* weight, float eps, MeshplanRows grad,
                             void* grad_weight, float* partial, std::int64_t rows,
                             std::int64_t heads);

int swiglu(const MeshplanKernelCall* call, const void* gate_up, void* act, std::int64_t rows,
           std::int64_t width);
int swiglu_backward(const MeshplanKernelCall* call, void* gate_up, const void* grad_act,
                    std::int64_t rows, std::int64_t width);

int cross_entropy_max(const MeshplanKernelCall* call, const float* logits, float* max,
                      MeshplanVocabularySlice slice, std::int64_t rows, std::int64_t width);
int cross_entropy_exp(const MeshplanKernelCall* call, float* logits, const float* max,
                      const std::int64_t* labels, float* sums, MeshplanVocabularySlice slice,
                      std::int64_t rows, std::int64_t width);
int cross_entropy_gradient(const MeshplanKernelCall* call, const float* exps, const float* sums,
                           const std::int64_t* labels, float scale, float* losses, void* gradient,
                           MeshplanVocabularySlice slice, std::int64_t rows, std::int64_t width);

int gather_rows(const MeshplanKernelCall* call, const void* weight, const std::int64_t* ids,
                void* out, MeshplanVocabularySlice slice, std::int64_t tokens, std::int64_t width);
int add_rows(const MeshplanKernelCall* call, const void* grad_out, const std::int64_t* sorted_ids,
             const std::int64_t* order, void* grad_weight, MeshplanVocabularySlice slice,
             std::int64_t tokens, std::int64_t width);

}  // namespace meshplan::executor::device

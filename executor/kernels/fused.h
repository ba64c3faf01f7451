#pragma once

#include <ATen/core/Tensor.h>

#include <string>

#include "executor/kernels/cuda/kernel_table.h"
#include "executor/kernels/rope.h"
#include "executor/kernels/vocabulary.h"

/// The kernels of this folder as one fused CUDA kernel each, from the library that
/// executor/kernels/cuda builds. Contracts are those of the function of the same name; workspace,
/// where there is any, comes from torch's allocator. Work is issued on the current stream.
///
/// The library is looked for once: where MESHPLAN_KERNELS names it ("none": nowhere), else beside
/// the program as libmeshplan_kernels.so. One that is named but does not load throws kIo.
namespace meshplan::executor::fused {

/// Whether the library is there and computes with elements of this type (float32, bfloat16,
/// float16). Where not, callers compose.
bool takes(at::ScalarType type);

/// "fused (PATH)" or why they are composed, for the log.
std::string describe();

/// Takes the kernels from this table in place of the library; null: as if there were none. For
/// tests.
void use_table(const MeshplanKernelTable* table);

void rms_norm(const at::Tensor& x, const at::Tensor& weight, double eps, const at::Tensor& out,
              const at::Tensor& rstd);
void apply_rms_norm(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& rstd,
                    const at::Tensor& out);
/// Rows wider than kMeshplanMaxNormWidth are composed.
void rms_norm_backward(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& rstd,
                       const at::Tensor& grad_out, const at::Tensor& grad_x,
                       const at::Tensor& grad_weight);
void rms_norm_backward_in_place(const at::Tensor& x, const at::Tensor& weight,
                                const at::Tensor& rstd, const at::Tensor& grad,
                                const at::Tensor& grad_weight);

void rotate(const RopeTable& table, Rotation rotation, const at::Tensor& source,
            const at::Tensor& destination);
void norm_and_rotate(const RopeTable& table, const at::Tensor& source, const at::Tensor& weight,
                     double eps, const at::Tensor& destination);
void norm_and_rotate_backward(const RopeTable& table, const at::Tensor& source,
                              const at::Tensor& weight, double eps, const at::Tensor& grad,
                              const at::Tensor& grad_weight);

void swiglu(const at::Tensor& gate_up, const at::Tensor& act);
void swiglu_backward(const at::Tensor& gate_up, const at::Tensor& grad_act);

void cross_entropy_max(const at::Tensor& logits, const VocabularySlice& slice,
                       const at::Tensor& max);
void cross_entropy_exp(const at::Tensor& logits, const VocabularySlice& slice,
                       const at::Tensor& max, const at::Tensor& labels, const at::Tensor& sums);
void cross_entropy_gradient(const at::Tensor& exps, const VocabularySlice& slice,
                            const at::Tensor& sums, const at::Tensor& labels, double scale,
                            const at::Tensor& losses, const at::Tensor& gradient);

void gather_rows(const at::Tensor& weight, const VocabularySlice& slice, const at::Tensor& ids,
                 const at::Tensor& out);
void add_rows(const at::Tensor& grad_out, const VocabularySlice& slice, const at::Tensor& ids,
              const at::Tensor& grad_weight);

}  // namespace meshplan::executor::fused

#pragma once

#include <ATen/core/Tensor.h>

#include <tuple>

#include "executor/kernels/rope.h"
#include "executor/kernels/vocabulary.h"

/// The kernels of this folder as compositions of ATen calls, for devices without a fused one.
/// Contracts and results are those of the function of the same name; these allocate temporaries.
namespace meshplan::executor::composed {

void rms_norm(const at::Tensor& x, const at::Tensor& weight, double eps, const at::Tensor& out,
              const at::Tensor& rstd);
void apply_rms_norm(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& rstd,
                    const at::Tensor& out);
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

void accumulate(const at::Tensor& total, const at::Tensor& term);

/// Causal attention, q [b, H, s, D], k and v [b, K, s, D], whole score matrices in memory: (out,
/// log-sum-exp [b, H, s]). out is [b, s, H, D] in memory.
std::tuple<at::Tensor, at::Tensor> causal_attention(const at::Tensor& q, const at::Tensor& k,
                                                    const at::Tensor& v);
/// The gradients of q, k and v.
std::tuple<at::Tensor, at::Tensor, at::Tensor> causal_attention_backward(
    const at::Tensor& grad_out, const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
    const at::Tensor& out, const at::Tensor& log_sum_exp);

}  // namespace meshplan::executor::composed

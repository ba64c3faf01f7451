#include "executor/layers/head_loss.h"

#include <ATen/ATen.h>

#include "executor/kernels/accumulate.h"
#include "executor/kernels/cross_entropy.h"
#include "executor/kernels/rms_norm.h"
#include "executor/kernels/vector_loops.h"
#include "executor/layers/linear.h"
#include "executor/layers/loss_sum.h"

namespace meshplan::executor {
namespace {

/// The output weight's gradient as it grows chunk by chunk: in place for float32 and float64; for
/// shorter types, and more than one chunk, in float32 beside it.
class WeightGradient {
 public:
  WeightGradient(const at::Tensor& target, bool chunked) : target_(target) {
    const at::ScalarType type = statistics_type(target.scalar_type());
    if (chunked && type != target.scalar_type())
      total_ = at::zeros_like(target, target.options().dtype(type));
  }

  void add(const at::Tensor& grad_logits, const at::Tensor& normed) {
    if (first_ || total_.defined()) {
      linear_backward_weight(grad_logits, normed, target_);
    } else {
      add_linear_backward_weight(grad_logits, normed, target_);
    }
    if (total_.defined()) accumulate(total_, target_);
    first_ = false;
  }
  void finish() {
    if (total_.defined()) target_.copy_(total_);
    total_.reset();
  }

 private:
  at::Tensor target_;
  at::Tensor total_;
  bool first_ = true;
};

/// What one chunk reads and writes: rows of the tensors of all tokens.
struct Chunk {
  at::Tensor normed;       // [C, h]
  at::Tensor labels;       // [C]
  at::Tensor grad_normed;  // [C, h], undefined without gradient
};

void chunk_loss(const at::Tensor& weight, const HeadLossOptions& options, const Chunk& chunk,
                Communicator& tp, LossSum& loss, WeightGradient* grad_weight) {
  const std::int64_t rows = chunk.normed.size(0);
  const at::ScalarType type = statistics_type(chunk.normed.scalar_type());
  const at::Tensor stats = at::empty({3 * rows}, chunk.normed.options().dtype(type));
  const at::Tensor max = stats.narrow(0, 0, rows);
  const at::Tensor sums = stats.narrow(0, rows, 2 * rows).view({2, rows});

  const at::Tensor logits = at::empty({rows, weight.size(0)}, chunk.normed.options());
  linear(chunk.normed, weight, /*bias=*/{}, logits);
  at::Tensor exps = logits;
  if (type != logits.scalar_type()) {
    exps = at::empty_like(logits, logits.options().dtype(type));
    exps.copy_(logits);
  }
  cross_entropy_max(exps, options.slice, max);
  tp.all_reduce(max, ReduceOp::kMax).wait();
  cross_entropy_exp(exps, options.slice, max, chunk.labels, sums);
  tp.all_reduce(sums, ReduceOp::kSum).wait();

  // The losses take the place of the maxima, which are no longer needed.
  const at::Tensor grad_logits = options.with_gradient ? logits : at::Tensor();
  cross_entropy_gradient(exps, options.slice, sums, chunk.labels, options.scale, max, grad_logits);
  exps.reset();
  loss.add(max);
  if (!options.with_gradient) return;
  linear_backward_input(grad_logits, weight, chunk.grad_normed);
  grad_weight->add(grad_logits, chunk.normed);
}

}  // namespace

HeadLoss head_loss(const HeadWeights& weights, const HeadWeights& gradients,
                   const HeadLossOptions& options, at::Tensor x, const at::Tensor& labels,
                   const TensorParallel& tp) {
  const std::int64_t tokens = labels.size(0);
  const at::Tensor rstd =
      at::empty({x.size(0)}, x.options().dtype(statistics_type(x.scalar_type())));
  at::Tensor normed = at::empty_like(x);
  rms_norm(x, weights.norm, options.rms_norm_eps, normed, rstd);
  normed = RowGather(tp, std::move(normed)).finish();

  LossSum loss;
  HeadLoss result;
  std::optional<WeightGradient> grad_weight;
  if (options.with_gradient) {
    result.grad = at::empty_like(normed);
    grad_weight.emplace(gradients.output, options.chunks > 1);
  }
  const std::int64_t rows_each = (tokens + options.chunks - 1) / options.chunks;
  for (std::int64_t first = 0; first < tokens; first += rows_each) {
    const std::int64_t rows = std::min(rows_each, tokens - first);
    const Chunk chunk{normed.narrow(0, first, rows), labels.narrow(0, first, rows),
                      options.with_gradient ? result.grad.narrow(0, first, rows) : at::Tensor()};
    chunk_loss(weights.output, options, chunk, tp.group, loss,
               grad_weight ? &*grad_weight : nullptr);
  }
  if (grad_weight) grad_weight->finish();
  normed.reset();
  if (options.with_gradient) {
    result.grad = RowSum(tp, std::move(result.grad)).finish();
    rms_norm_backward_in_place(x, weights.norm, rstd, result.grad, gradients.norm);
  }
  result.loss_sum = loss.value();
  return result;
}

}  // namespace meshplan::executor

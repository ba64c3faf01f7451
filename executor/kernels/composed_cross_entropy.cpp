#include <ATen/ATen.h>

#include <limits>

#include "executor/kernels/composed.h"

namespace meshplan::executor::composed {
namespace {

/// For each row: does the slice hold its label, and in which column (0 where not)?
struct LabelColumns {
  at::Tensor held;
  at::Tensor column;
};

LabelColumns find_labels(const at::Tensor& labels, const VocabularySlice& slice) {
  const at::Tensor local = labels - slice.start;
  const at::Tensor held = local.ge(0).logical_and_(local.lt(slice.rows));
  return {held.unsqueeze(1), local.masked_fill(held.logical_not(), 0).unsqueeze(1)};
}

}  // namespace

void cross_entropy_max(const at::Tensor& logits, const VocabularySlice& slice,
                       const at::Tensor& max) {
  if (slice.rows == 0) {
    max.fill_(-std::numeric_limits<double>::infinity());
    return;
  }
  max.copy_(logits.narrow(1, 0, slice.rows).amax(1));
}

void cross_entropy_exp(const at::Tensor& logits, const VocabularySlice& slice,
                       const at::Tensor& max, const at::Tensor& labels, const at::Tensor& sums) {
  const LabelColumns found = find_labels(labels, slice);
  const at::Tensor valid = logits.narrow(1, 0, slice.rows);
  valid.sub_(max.unsqueeze(1));
  sums[1].copy_(
      logits.gather(1, found.column).masked_fill_(found.held.logical_not(), 0).squeeze(1));
  valid.exp_();
  sums[0].copy_(valid.sum(1));
}

void cross_entropy_gradient(const at::Tensor& exps, const VocabularySlice& slice,
                            const at::Tensor& sums, const at::Tensor& labels, double scale,
                            const at::Tensor& losses, const at::Tensor& gradient) {
  const at::Tensor ignored = labels.eq(kIgnoredLabel);
  losses.copy_((sums[0].log() - sums[1]).masked_fill_(ignored, 0));
  if (!gradient.defined()) return;
  const LabelColumns found = find_labels(labels, slice);
  const at::Tensor factor = sums[0].reciprocal().mul_(scale).masked_fill_(ignored, 0).unsqueeze(1);
  const at::Tensor at_label = found.held.to(exps.scalar_type()).mul_(-scale);
  exps.mul_(factor);
  exps.narrow(1, slice.rows, exps.size(1) - slice.rows).zero_();
  exps.scatter_add_(1, found.column, at_label);
  if (!gradient.is_same(exps)) gradient.copy_(exps);
}

}  // namespace meshplan::executor::composed

#include "executor/layers/normed_rows.h"

#include <ATen/ATen.h>

#include "executor/kernels/rms_norm.h"
#include "executor/kernels/vector_loops.h"

namespace meshplan::executor {

at::Tensor normed_rows(const at::Tensor& x, const at::Tensor& weight, double eps,
                       at::Tensor& rstd) {
  const bool known = rstd.defined();
  if (!known) rstd = at::empty({x.size(0)}, x.options().dtype(statistics_type(x.scalar_type())));
  at::Tensor normed = at::empty_like(x);
  if (known) {
    apply_rms_norm(x, weight, rstd, normed);
  } else {
    rms_norm(x, weight, eps, normed, rstd);
  }
  return normed;
}

}  // namespace meshplan::executor

#include "executor/kernels/fused.h"

#include <ATen/ATen.h>
#include <c10/core/DeviceGuard.h>
#include <fmt/format.h>

#include <tuple>
#ifdef MESHPLAN_WITH_CUDA
#include <c10/cuda/CUDAStream.h>
#endif

#include "common/error.h"
#include "executor/kernels/composed.h"
#include "executor/kernels/fused_library.h"

namespace meshplan::executor::fused {
namespace {

int element_type(at::ScalarType type) {
  switch (type) {
    case at::kBFloat16:
      return kMeshplanBfloat16;
    case at::kHalf:
      return kMeshplanFloat16;
    default:
      return kMeshplanFloat32;
  }
}

void* stream_of([[maybe_unused]] const at::Device& device) {
#ifdef MESHPLAN_WITH_CUDA
  if (device.is_cuda()) return c10::cuda::getCurrentCUDAStream(device.index()).stream();
#endif
  return nullptr;
}

/// Calls one kernel of the table on the device and current stream of `elements`, with its type.
template <class Kernel, class... Arguments>
void call(const char* name, Kernel MeshplanKernelTable::*kernel, const at::Tensor& elements,
          Arguments... arguments) {
  const c10::DeviceGuard guard(elements.device());
  const MeshplanKernelCall place{stream_of(elements.device()),
                                 element_type(elements.scalar_type())};
  const MeshplanKernelTable& table = *kernel_table();
  if (const int error = (table.*kernel)(&place, arguments...); error != 0) {
    throw common::Error(common::ErrorCode::kInternal,
                        fmt::format("kernel {} could not be started: {} (CUDA error {})", name,
                                    table.describe_error(error), error),
                        "fused kernels");
  }
}

const float* floats(const at::Tensor& tensor) { return tensor.const_data_ptr<float>(); }
float* mutable_floats(const at::Tensor& tensor) { return tensor.mutable_data_ptr<float>(); }
const std::int64_t* ids_of(const at::Tensor& tensor) {
  return tensor.const_data_ptr<std::int64_t>();
}

MeshplanRopeTable plain(const RopeTable& table) {
  return {floats(table.cos), floats(table.sin), table.sequence(), table.cos.size(1)};
}
MeshplanRows rows_of(const at::Tensor& matrix) {
  return {matrix.mutable_data_ptr(), matrix.stride(0)};
}
MeshplanVocabularySlice plain(const VocabularySlice& slice) { return {slice.start, slice.rows}; }

at::Tensor make_partial(const at::Tensor& like, std::int64_t width) {
  return at::empty({kMeshplanParts, width}, like.options().dtype(at::kFloat));
}

void norm_backward(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& rstd,
                   const at::Tensor& grad_out, const at::Tensor& grad_x,
                   const at::Tensor& grad_weight, bool residual) {
  const at::Tensor partial = make_partial(x, x.size(1));
  call("rms_norm_backward", &MeshplanKernelTable::rms_norm_backward, x, x.const_data_ptr(),
       weight.const_data_ptr(), floats(rstd), grad_out.const_data_ptr(), grad_x.mutable_data_ptr(),
       grad_weight.mutable_data_ptr(), mutable_floats(partial), x.size(0), x.size(1), residual);
}

}  // namespace

void rms_norm(const at::Tensor& x, const at::Tensor& weight, double eps, const at::Tensor& out,
              const at::Tensor& rstd) {
  call("rms_norm", &MeshplanKernelTable::rms_norm, x, x.const_data_ptr(), weight.const_data_ptr(),
       static_cast<float>(eps), out.mutable_data_ptr(), mutable_floats(rstd), x.size(0), x.size(1));
}

void apply_rms_norm(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& rstd,
                    const at::Tensor& out) {
  call("apply_rms_norm", &MeshplanKernelTable::apply_rms_norm, x, x.const_data_ptr(),
       weight.const_data_ptr(), floats(rstd), out.mutable_data_ptr(), x.size(0), x.size(1));
}

void rms_norm_backward(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& rstd,
                       const at::Tensor& grad_out, const at::Tensor& grad_x,
                       const at::Tensor& grad_weight) {
  if (x.size(1) > kMeshplanMaxNormWidth)
    return composed::rms_norm_backward(x, weight, rstd, grad_out, grad_x, grad_weight);
  norm_backward(x, weight, rstd, grad_out, grad_x, grad_weight, /*residual=*/true);
}

void rms_norm_backward_in_place(const at::Tensor& x, const at::Tensor& weight,
                                const at::Tensor& rstd, const at::Tensor& grad,
                                const at::Tensor& grad_weight) {
  if (x.size(1) > kMeshplanMaxNormWidth)
    return composed::rms_norm_backward_in_place(x, weight, rstd, grad, grad_weight);
  norm_backward(x, weight, rstd, grad, grad, grad_weight, /*residual=*/false);
}

void rotate(const RopeTable& table, Rotation rotation, const at::Tensor& source,
            const at::Tensor& destination) {
  const MeshplanRopeTable angles = plain(table);
  call("rotate", &MeshplanKernelTable::rotate, source, &angles,
       rotation == Rotation::kForward ? 1.0f : -1.0f, rows_of(source), rows_of(destination),
       source.size(0), source.size(1) / table.head_dim());
}

void norm_and_rotate(const RopeTable& table, const at::Tensor& source, const at::Tensor& weight,
                     double eps, const at::Tensor& destination) {
  const MeshplanRopeTable angles = plain(table);
  call("norm_and_rotate", &MeshplanKernelTable::norm_and_rotate, source, &angles, rows_of(source),
       weight.const_data_ptr(), static_cast<float>(eps), rows_of(destination), source.size(0),
       source.size(1) / table.head_dim());
}

void norm_and_rotate_backward(const RopeTable& table, const at::Tensor& source,
                              const at::Tensor& weight, double eps, const at::Tensor& grad,
                              const at::Tensor& grad_weight) {
  const MeshplanRopeTable angles = plain(table);
  const at::Tensor partial = make_partial(source, table.head_dim());
  call("norm_and_rotate_backward", &MeshplanKernelTable::norm_and_rotate_backward, source, &angles,
       rows_of(source), weight.const_data_ptr(), static_cast<float>(eps), rows_of(grad),
       grad_weight.mutable_data_ptr(), mutable_floats(partial), source.size(0),
       source.size(1) / table.head_dim());
}

void swiglu(const at::Tensor& gate_up, const at::Tensor& act) {
  call("swiglu", &MeshplanKernelTable::swiglu, act, gate_up.const_data_ptr(),
       act.mutable_data_ptr(), act.size(0), act.size(1));
}

void swiglu_backward(const at::Tensor& gate_up, const at::Tensor& grad_act) {
  call("swiglu_backward", &MeshplanKernelTable::swiglu_backward, grad_act,
       gate_up.mutable_data_ptr(), grad_act.const_data_ptr(), grad_act.size(0), grad_act.size(1));
}

void cross_entropy_max(const at::Tensor& logits, const VocabularySlice& slice,
                       const at::Tensor& max) {
  call("cross_entropy_max", &MeshplanKernelTable::cross_entropy_max, logits, floats(logits),
       mutable_floats(max), plain(slice), logits.size(0), logits.size(1));
}

void cross_entropy_exp(const at::Tensor& logits, const VocabularySlice& slice,
                       const at::Tensor& max, const at::Tensor& labels, const at::Tensor& sums) {
  call("cross_entropy_exp", &MeshplanKernelTable::cross_entropy_exp, logits, mutable_floats(logits),
       floats(max), ids_of(labels), mutable_floats(sums), plain(slice), logits.size(0),
       logits.size(1));
}

void cross_entropy_gradient(const at::Tensor& exps, const VocabularySlice& slice,
                            const at::Tensor& sums, const at::Tensor& labels, double scale,
                            const at::Tensor& losses, const at::Tensor& gradient) {
  const bool wanted = gradient.defined();
  call("cross_entropy_gradient", &MeshplanKernelTable::cross_entropy_gradient,
       wanted ? gradient : exps, floats(exps), floats(sums), ids_of(labels),
       static_cast<float>(scale), mutable_floats(losses),
       wanted ? gradient.mutable_data_ptr() : nullptr, plain(slice), exps.size(0), exps.size(1));
}

void gather_rows(const at::Tensor& weight, const VocabularySlice& slice, const at::Tensor& ids,
                 const at::Tensor& out) {
  call("gather_rows", &MeshplanKernelTable::gather_rows, weight, weight.const_data_ptr(),
       ids_of(ids), out.mutable_data_ptr(), plain(slice), ids.numel(), weight.size(1));
}

void add_rows(const at::Tensor& grad_out, const VocabularySlice& slice, const at::Tensor& ids,
              const at::Tensor& grad_weight) {
  const auto [sorted, order] = at::sort(ids, /*stable=*/true, /*dim=*/0, /*descending=*/false);
  call("add_rows", &MeshplanKernelTable::add_rows, grad_out, grad_out.const_data_ptr(),
       ids_of(sorted), ids_of(order), grad_weight.mutable_data_ptr(), plain(slice), ids.numel(),
       grad_out.size(1));
}

}  // namespace meshplan::executor::fused

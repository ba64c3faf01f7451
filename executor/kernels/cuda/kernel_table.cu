#include "executor/kernels/cuda/device_code.h"
#include "executor/kernels/cuda/kernels.h"

extern "C" const MeshplanKernelTable* meshplan_kernel_table() {
  namespace device = meshplan::executor::device;
  static const MeshplanKernelTable table = {
      .version = kMeshplanKernelVersion,
      .rms_norm = device::rms_norm,
      .apply_rms_norm = device::apply_rms_norm,
      .rms_norm_backward = device::rms_norm_backward,
      .rotate = device::rotate,
      .norm_and_rotate = device::norm_and_rotate,
      .norm_and_rotate_backward = device::norm_and_rotate_backward,
      .swiglu = device::swiglu,
      .swiglu_backward = device::swiglu_backward,
      .cross_entropy_max = device::cross_entropy_max,
      .cross_entropy_exp = device::cross_entropy_exp,
      .cross_entropy_gradient = device::cross_entropy_gradient,
      .gather_rows = device::gather_rows,
      .add_rows = device::add_rows,
      .describe_error = device::describe_error,
  };
  return &table;
}

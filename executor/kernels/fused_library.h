#pragma once

#include "executor/kernels/cuda/kernel_table.h"

namespace meshplan::executor::fused {

/// The kernels in use; null where there are none.
const MeshplanKernelTable* kernel_table();

}  // namespace meshplan::executor::fused

#pragma once

#include <c10/core/Device.h>

#include <cstdint>

#include "common/units.h"

namespace meshplan::executor {

/// Where this rank computes: a CUDA device where the machine shows one, else the CPU. Where fewer
/// devices are visible than ranks (a launcher that binds one to each), ranks take them in turn. The
/// device becomes this thread's current one, and torch's CUDA state is set up.
c10::Device device_for(std::int64_t local_rank);

/// The memory of the device, or of this machine, whose ranks share it.
common::Bytes memory_of(c10::Device device);

/// The most bytes of tensors at once since the last reset: on CPU `own_peak` of the counting
/// allocator, on CUDA what the caching allocator handed out.
common::Bytes peak_allocated(c10::Device device);
/// The most that the caching allocator held of the device since the last reset, free pieces
/// included; on CPU the same as peak_allocated().
common::Bytes peak_reserved(c10::Device device);
/// Resets both peaks to what there is now.
void reset_peak_allocated(c10::Device device);

/// Bytes that tensors hold now, and that the allocator keeps for them: CUDA's caching allocator, or
/// malloc's heap with everything else that lies there.
struct MemoryNow {
  common::Bytes active;
  common::Bytes reserved;
};
MemoryNow memory_now(c10::Device device);

/// From here on every kernel that torch starts gives the same bits for the same input on the same
/// device, at some cost of time; attention takes the one algorithm that can. Called before the
/// first work is issued: cuBLAS reads its workspace's size once. Our own kernels always do.
void compute_deterministically();

}  // namespace meshplan::executor

#pragma once

#include <c10/core/Device.h>

#include <cstdint>

#include "common/units.h"

namespace meshplan::executor {

/// Where this rank computes: a CUDA device where the machine shows one, else the CPU. Where fewer
/// devices are visible than ranks (a launcher that binds one to each), ranks take them in turn.
c10::Device device_for(std::int64_t local_rank);

/// The most bytes of tensors at once since the last reset: on CPU `own_peak` of the counting
/// allocator, on CUDA what the caching allocator handed out.
common::Bytes peak_allocated(c10::Device device);
void reset_peak_allocated(c10::Device device);

/// Bytes that tensors hold now, and that the allocator keeps for them: CUDA's caching allocator, or
/// malloc's heap with everything else that lies there.
struct MemoryNow {
  common::Bytes active;
  common::Bytes reserved;
};
MemoryNow memory_now(c10::Device device);

}  // namespace meshplan::executor

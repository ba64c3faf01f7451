#include "executor/memory/device.h"

#ifdef MESHPLAN_WITH_CUDA
#include <c10/cuda/CUDACachingAllocator.h>
#include <c10/cuda/CUDAFunctions.h>
#endif

#ifdef __GLIBC__
#include <malloc.h>
#endif

#include "executor/memory/counting_allocator.h"

namespace meshplan::executor {

c10::Device device_for([[maybe_unused]] std::int64_t local_rank) {
#ifdef MESHPLAN_WITH_CUDA
  const std::int64_t devices = c10::cuda::device_count();
  if (devices > 0) {
    return {c10::DeviceType::CUDA, static_cast<c10::DeviceIndex>(local_rank % devices)};
  }
#endif
  return c10::DeviceType::CPU;
}

common::Bytes peak_allocated(c10::Device device) {
#ifdef MESHPLAN_WITH_CUDA
  if (device.is_cuda()) {
    const auto stats = c10::cuda::CUDACachingAllocator::getDeviceStats(device.index());
    constexpr auto kAll = static_cast<std::size_t>(c10::CachingAllocator::StatType::AGGREGATE);
    return common::Bytes(stats.allocated_bytes[kAll].peak);
  }
#endif
  return device.is_cpu() ? memory_counts().own_peak : common::Bytes(0);
}

void reset_peak_allocated(c10::Device device) {
#ifdef MESHPLAN_WITH_CUDA
  if (device.is_cuda()) c10::cuda::CUDACachingAllocator::resetPeakStats(device.index());
#endif
  if (device.is_cpu()) reset_peak_memory();
}

MemoryNow memory_now([[maybe_unused]] c10::Device device) {
#ifdef MESHPLAN_WITH_CUDA
  if (device.is_cuda()) {
    const auto stats = c10::cuda::CUDACachingAllocator::getDeviceStats(device.index());
    constexpr auto kAll = static_cast<std::size_t>(c10::CachingAllocator::StatType::AGGREGATE);
    return {common::Bytes(stats.active_bytes[kAll].current),
            common::Bytes(stats.reserved_bytes[kAll].current)};
  }
#endif
  MemoryNow now{memory_counts().own, memory_counts().own};
#ifdef __GLIBC__
  const auto heap = ::mallinfo2();
  now.reserved = common::Bytes(static_cast<std::int64_t>(heap.arena + heap.hblkhd));
#endif
  return now;
}

}  // namespace meshplan::executor

#include "executor/memory/device.h"

#include <ATen/Context.h>
#include <unistd.h>

#include <cstdlib>
#ifdef MESHPLAN_WITH_CUDA
#include <c10/cuda/CUDACachingAllocator.h>
#include <c10/cuda/CUDAException.h>
#include <c10/cuda/CUDAFunctions.h>
#endif

#ifdef __GLIBC__
#include <malloc.h>
#endif

#include "executor/memory/counting_allocator.h"

namespace meshplan::executor {
namespace {

#ifdef MESHPLAN_WITH_CUDA
using Stat = c10::CachingAllocator::Stat;
using Stats = c10::CachingDeviceAllocator::DeviceStats;

common::Bytes peak_of(c10::Device device, const c10::CachingAllocator::StatArray Stats::*counter) {
  const Stats stats = c10::cuda::CUDACachingAllocator::getDeviceStats(device.index());
  constexpr auto kAll = static_cast<std::size_t>(c10::CachingAllocator::StatType::AGGREGATE);
  return common::Bytes((stats.*counter)[kAll].peak);
}
#endif

common::Bytes peak_on_host(c10::Device device) {
  return device.is_cpu() ? memory_counts().own_peak : common::Bytes(0);
}

}  // namespace

c10::Device device_for([[maybe_unused]] std::int64_t local_rank) {
#ifdef MESHPLAN_WITH_CUDA
  const std::int64_t devices = c10::cuda::device_count();
  if (devices > 0) {
    const auto index = static_cast<c10::DeviceIndex>(local_rank % devices);
    c10::cuda::set_device(index);
    // The allocator's statistics may be asked for before the first tensor.
    at::globalContext().lazyInitDevice(c10::DeviceType::CUDA);
    return {c10::DeviceType::CUDA, index};
  }
#endif
  return c10::DeviceType::CPU;
}

common::Bytes memory_of([[maybe_unused]] c10::Device device) {
#ifdef MESHPLAN_WITH_CUDA
  if (device.is_cuda()) {
    std::size_t free = 0;
    std::size_t total = 0;
    C10_CUDA_CHECK(cudaMemGetInfo(&free, &total));
    return common::Bytes(static_cast<std::int64_t>(total));
  }
#endif
  return common::Bytes(static_cast<std::int64_t>(::sysconf(_SC_PHYS_PAGES)) *
                       ::sysconf(_SC_PAGESIZE));
}

common::Bytes peak_allocated(c10::Device device) {
#ifdef MESHPLAN_WITH_CUDA
  if (device.is_cuda()) return peak_of(device, &Stats::allocated_bytes);
#endif
  return peak_on_host(device);
}

common::Bytes peak_reserved(c10::Device device) {
#ifdef MESHPLAN_WITH_CUDA
  if (device.is_cuda()) return peak_of(device, &Stats::reserved_bytes);
#endif
  return peak_on_host(device);
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

void compute_deterministically() {
  // As CUDA's documentation of cublasSetWorkspace asks for; a value of the user's stays.
  ::setenv("CUBLAS_WORKSPACE_CONFIG", ":4096:8", /*overwrite=*/0);
  at::Context& context = at::globalContext();
  context.setDeterministicAlgorithms(true, /*warn_only=*/false);
  // Memory that is written before it is read needs no filling.
  context.setDeterministicFillUninitializedMemory(false);
  context.setDeterministicCuDNN(true);
  context.setBenchmarkCuDNN(false);
}

}  // namespace meshplan::executor

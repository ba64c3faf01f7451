#include "executor/memory/counting_allocator.h"

#include <c10/core/Allocator.h>
#include <c10/core/CPUAllocator.h>
#include <c10/util/Exception.h>
#ifdef __GLIBC__
#include <malloc.h>
#endif

#include <algorithm>
#include <cstdlib>
#include <limits>
#include <mutex>
#include <string>
#include <utility>

namespace meshplan::executor {
namespace {

enum class MemoryClass : std::uint32_t { kOwn, kLibrary };

/// What torch's own allocator aligns to; a cache line, and the width of an AVX-512 register.
constexpr std::size_t kAlignment = 64;

/// Stands before each block, in a piece of memory as large as the alignment.
struct alignas(kAlignment) Header {
  std::int64_t bytes;
  MemoryClass memory_class;
};
static_assert(sizeof(Header) == kAlignment);

thread_local bool thread_is_claimed = false;
thread_local int library_depth = 0;

MemoryClass class_of_this_thread() {
  return thread_is_claimed && library_depth == 0 ? MemoryClass::kOwn : MemoryClass::kLibrary;
}

/// The counts of one process. The mutex keeps peaks and the order of the log exact between threads.
class Ledger {
 public:
  void add(MemoryClass memory_class, std::int64_t bytes) {
    const std::scoped_lock lock(mutex_);
    Count& count = counts_[static_cast<std::size_t>(memory_class)];
    count.current += bytes;
    count.peak = std::max(count.peak, count.current);
    if (recording_ && memory_class == MemoryClass::kOwn) log_.push_back(bytes);
  }

  MemoryCounts counts() {
    const std::scoped_lock lock(mutex_);
    const auto& [own, library] = counts_;
    return {common::Bytes(own.current), common::Bytes(own.peak), common::Bytes(library.current),
            common::Bytes(library.peak)};
  }

  void reset_peak() {
    const std::scoped_lock lock(mutex_);
    for (Count& count : counts_) count.peak = count.current;
  }

  void record(bool on) {
    const std::scoped_lock lock(mutex_);
    if (on) log_.clear();
    recording_ = on;
  }

  std::vector<std::int64_t> log() {
    const std::scoped_lock lock(mutex_);
    return log_;
  }

 private:
  struct Count {
    std::int64_t current = 0;
    std::int64_t peak = 0;
  };
  std::mutex mutex_;
  Count counts_[2];
  bool recording_ = false;
  std::vector<std::int64_t> log_;
};

/// Never destroyed: tensors of static lifetime are freed after it would have been.
Ledger& ledger() {
  static Ledger* const instance = new Ledger;
  return *instance;
}

void free_block(void* data) {
  if (data == nullptr) return;
  Header* header = static_cast<Header*>(data) - 1;
  ledger().add(header->memory_class, -header->bytes);
  std::free(header);
}

class CountingAllocator final : public c10::Allocator {
 public:
  c10::DataPtr allocate(std::size_t bytes) override {
    const c10::Device cpu(c10::DeviceType::CPU);
    if (bytes == 0) return {nullptr, nullptr, &free_block, cpu};
    constexpr std::size_t kLargest =
        static_cast<std::size_t>(std::numeric_limits<std::int64_t>::max()) - sizeof(Header);
    void* memory = nullptr;
    if (bytes > kLargest || posix_memalign(&memory, kAlignment, sizeof(Header) + bytes) != 0) {
      C10_THROW_ERROR(OutOfMemoryError,
                      "not enough memory for a tensor of " + std::to_string(bytes) +
                          " bytes; use a smaller microbatch or shard over more ranks");
    }
    Header* header = static_cast<Header*>(memory);
    *header = {static_cast<std::int64_t>(bytes), class_of_this_thread()};
    ledger().add(header->memory_class, header->bytes);
    void* data = header + 1;
    return {data, data, &free_block, cpu};
  }

  c10::DeleterFnPtr raw_deleter() const override { return &free_block; }

  void copy_data(void* destination, const void* source, std::size_t count) const override {
    default_copy_data(destination, source, count);
  }
};

}  // namespace

void install_counting_allocator() {
  static bool installed = false;
  claim_this_thread();
  if (std::exchange(installed, true)) return;
  tune_malloc();
  // Above the default's priority 0, so that a library loaded later does not put that one back.
  constexpr std::uint8_t kPriority = 100;
  c10::SetCPUAllocator(new CountingAllocator, kPriority);
}

void claim_this_thread() { thread_is_claimed = true; }

MemoryCounts memory_counts() { return ledger().counts(); }

void reset_peak_memory() { ledger().reset_peak(); }

void record_allocations(bool on) { ledger().record(on); }

std::vector<std::int64_t> recorded_allocations() { return ledger().log(); }

LibraryScope::LibraryScope() { ++library_depth; }

LibraryScope::~LibraryScope() { --library_depth; }

void tune_malloc() {
#ifdef __GLIBC__
  mallopt(M_MMAP_MAX, 0);
  mallopt(M_TRIM_THRESHOLD, -1);
#endif
}

}  // namespace meshplan::executor

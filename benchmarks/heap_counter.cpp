// LD_PRELOAD=libheap_counter.so HEAP_COUNTER_FOLDER=DIR PROGRAM: counts what a process has on
// malloc's heap.
//
// DIR/PID holds two 64-bit integers that change as the process runs, mapped in memory: the bytes
// allocated now, as malloc rounded them, and the most there were. Any process may read them, and
// reset the peak by writing. Other ways to memory than the malloc family are not seen: give a
// Python program PYTHONMALLOC=malloc.
#include <fcntl.h>
#include <malloc.h>
#include <sys/mman.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <cstdint>
#include <cstdio>
#include <cstdlib>

extern "C" {
void* __libc_malloc(std::size_t size);
void* __libc_calloc(std::size_t count, std::size_t size);
void* __libc_realloc(void* memory, std::size_t size);
void* __libc_memalign(std::size_t alignment, std::size_t size);
void __libc_free(void* memory);
}

namespace {

struct Counts {
  std::atomic<std::int64_t> now{0};
  std::atomic<std::int64_t> peak{0};
};
static_assert(sizeof(Counts) == 16 && std::atomic<std::int64_t>::is_always_lock_free);

Counts before_main;
std::atomic<Counts*> counts{&before_main};

void add(std::int64_t bytes) {
  Counts& c = *counts.load(std::memory_order_relaxed);
  const std::int64_t now = c.now.fetch_add(bytes, std::memory_order_relaxed) + bytes;
  std::int64_t peak = c.peak.load(std::memory_order_relaxed);
  while (now > peak && !c.peak.compare_exchange_weak(peak, now, std::memory_order_relaxed)) {
  }
}

std::int64_t size_of(void* memory) {
  return static_cast<std::int64_t>(::malloc_usable_size(memory));
}

void* counted(void* memory) {
  if (memory != nullptr) add(size_of(memory));
  return memory;
}

/// Runs while this process has one thread, and may be allocating: no stream, no string.
__attribute__((constructor)) void map_counts() {
  const char* folder = std::getenv("HEAP_COUNTER_FOLDER");
  if (folder == nullptr) return;
  char path[4096];
  std::snprintf(path, sizeof(path), "%s/%d", folder, static_cast<int>(::getpid()));
  const int file = ::open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
  if (file < 0 || ::ftruncate(file, sizeof(Counts)) != 0) {
    std::perror(path);
    std::_Exit(5);
  }
  void* mapped = ::mmap(nullptr, sizeof(Counts), PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
  ::close(file);
  if (mapped == MAP_FAILED) {
    std::perror(path);
    std::_Exit(5);
  }
  auto* in_file = static_cast<Counts*>(mapped);
  in_file->now = before_main.now.load();
  in_file->peak = before_main.peak.load();
  counts = in_file;
}

}  // namespace

extern "C" {

void* malloc(std::size_t size) { return counted(__libc_malloc(size)); }

void* calloc(std::size_t count, std::size_t size) { return counted(__libc_calloc(count, size)); }

void free(void* memory) {
  if (memory == nullptr) return;
  add(-size_of(memory));
  __libc_free(memory);
}

void* realloc(void* memory, std::size_t size) {
  const std::int64_t before = memory == nullptr ? 0 : size_of(memory);
  void* moved = __libc_realloc(memory, size);
  // On failure the old block stays, unless its new size is 0.
  if (moved != nullptr || size == 0) add((moved == nullptr ? 0 : size_of(moved)) - before);
  return moved;
}

void* memalign(std::size_t alignment, std::size_t size) {
  return counted(__libc_memalign(alignment, size));
}

void* aligned_alloc(std::size_t alignment, std::size_t size) { return memalign(alignment, size); }

int posix_memalign(void** memory, std::size_t alignment, std::size_t size) {
  if (alignment % sizeof(void*) != 0 || (alignment & (alignment - 1)) != 0 || alignment == 0)
    return EINVAL;
  void* made = memalign(alignment, size);
  if (made == nullptr) return ENOMEM;
  *memory = made;
  return 0;
}

}  // extern "C"

#pragma once

#include <cstdint>
#include <vector>

#include "common/units.h"

namespace meshplan::executor {

/// Bytes requested from torch's CPU allocator and not yet freed, by class, and the most there were
/// of each since the last reset_peak(). `library` is what libraries allocate for themselves, c10d's
/// messages and oneDNN's scratch, which depends on the processor:
/// everything on a thread that did not claim itself (Gloo's), and on one that did, inside a
/// LibraryScope. `own` is the rest. A block counts in the class it was allocated in until it
/// is freed, whoever frees it.
struct MemoryCounts {
  common::Bytes own;
  common::Bytes own_peak;
  common::Bytes library;
  common::Bytes library_peak;
};

/// Replaces torch's CPU allocator by one that counts, for the rest of the process; blocks allocated
/// before it are not counted. Claims the calling thread and tunes malloc. Call it before other
/// threads start; a second call does nothing.
void install_counting_allocator();

/// Makes this thread's allocations count as `own`. Threads that compute for a rank beside its main
/// thread (OpenMP's) must claim themselves or allocate nothing.
void claim_this_thread();

/// Zeros when the allocator is not installed.
MemoryCounts memory_counts();

/// The peaks become what is allocated now.
void reset_peak_memory();

/// Starts (emptying it first) or stops a log of the `own` allocations, +bytes, and frees, -bytes,
/// in order.
void record_allocations(bool on);
std::vector<std::int64_t> recorded_allocations();

/// While one lives, this thread's allocations count as `library`. Scopes nest.
class LibraryScope {
 public:
  LibraryScope();
  ~LibraryScope();
  LibraryScope(const LibraryScope&) = delete;
  LibraryScope& operator=(const LibraryScope&) = delete;
};

/// Keeps large blocks on malloc's heap and the heap at its peak size: a fresh map and its page
/// faults for every large tensor cost more than a small model's arithmetic. No effect outside
/// glibc.
void tune_malloc();

}  // namespace meshplan::executor

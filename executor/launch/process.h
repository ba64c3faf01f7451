#pragma once

#include <cstdint>
#include <string>

namespace meshplan::executor {

/// A process, so named that neither a reused pid nor another machine's equal one is mistaken for
/// it.
struct ProcessIdentity {
  std::int64_t pid = 0;
  /// Clock ticks between the machine's start and the process's.
  std::int64_t start_ticks = 0;
  /// The boot and the pid namespace in which pid counts.
  std::string pid_space;
  std::string host_name;

  bool operator==(const ProcessIdentity&) const = default;
};

enum class ProcessState { kRunning, kStopped, kGone };

ProcessIdentity this_process();

/// What the kernel says of a process of the same pid_space: a zombie is gone. kRunning where it
/// does not say.
ProcessState state_of(const ProcessIdentity& process);

}  // namespace meshplan::executor

#pragma once

#include <string>
#include <vector>

namespace meshplan::cli {

/// How a child process ended.
struct ChildEnd {
  /// Its exit code, or 128 + the signal that killed it.
  int exit_code = 0;
  /// The signal that this process received meanwhile and passed on; 0 = none.
  int interrupted_by = 0;
  /// What it wrote to its file descriptor 3: a last word, of at most 64 KiB.
  std::string report;
};

/// An environment variable for the child, set unless the user has set it.
struct Variable {
  std::string name;
  std::string value;
};

/// Runs a program (its path, and its arguments) to its end, with this process's output and no
/// input. SIGINT, SIGTERM, SIGHUP and SIGUSR1 are passed on to it; the same again, a second later,
/// kills it. Whatever processes it leaves behind are killed, and it gets SIGTERM when this process
/// dies. Throws kIo when it cannot be started.
ChildEnd run_child(const std::vector<std::string>& command,
                   const std::vector<Variable>& environment);

/// Replaces this process by a program. Throws kIo when it cannot be started.
[[noreturn]] void become(const std::vector<std::string>& command);

}  // namespace meshplan::cli

#pragma once

#include <sys/types.h>

#include <chrono>
#include <cstdint>
#include <filesystem>
#include <map>
#include <string>
#include <vector>

#include "tests/common/temporary_folder.h"

namespace meshplan::tests {

using Environment = std::map<std::string, std::string>;

/// How a process ended: its exit code, or 128 + the signal that killed it; -1 while it runs.
struct Ended {
  int exit_code = -1;
  double after_s = 0;
};

/// Processes that a test starts and, at the latest when it ends, kills: none outlives it. What a
/// process starts itself comes to this one when its parent ends, and is killed and counted too.
class TestProcesses {
 public:
  TestProcesses();
  ~TestProcesses();
  TestProcesses(const TestProcesses&) = delete;
  TestProcesses& operator=(const TestProcesses&) = delete;

  /// Starts a program with this environment in addition to ours; returns its number.
  std::size_t start(const std::vector<std::string>& command, const Environment& environment);
  /// Starts `program scenario run_folder` as the ranks of one job on a free port; `environment`
  /// goes to all.
  void start_ranks(const std::string& program, const std::string& scenario, std::int64_t ranks,
                   const Environment& environment = {});

  /// Waits until all have ended or the deadline has passed.
  std::vector<Ended> wait(std::chrono::seconds deadline);
  /// Waits until `times` processes have said the word in their output; false at the deadline.
  bool wait_for_word(const std::string& word, std::size_t times,
                     std::chrono::seconds deadline) const;

  void send(std::size_t process, int signal) const;
  /// Since this object was made; Ended::after_s counts the same way.
  double seconds() const;
  Ended ended(std::size_t process) const { return processes_[process].ended; }
  pid_t pid(std::size_t process) const { return processes_[process].pid; }
  /// Standard output and error of one, in the order written.
  std::string output(std::size_t process) const;
  std::string all_output() const;
  const std::filesystem::path& run_folder() const { return folder_.path(); }
  /// Processes that ended processes left behind: an orphan or a zombie counts.
  int count_orphans();

 private:
  struct Process {
    pid_t pid;
    std::filesystem::path output;
    Ended ended;
  };

  void reap();

  TemporaryFolder folder_;
  std::vector<Process> processes_;
  std::chrono::steady_clock::time_point started_;
};

/// A port that nothing listens on, outside the range that connections take theirs from.
int free_port();

}  // namespace meshplan::tests

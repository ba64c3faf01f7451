#include "executor/launch/process.h"

#include <gtest/gtest.h>
#include <signal.h>
#include <spawn.h>
#include <sys/wait.h>

#include <chrono>
#include <fstream>
#include <thread>

namespace meshplan::executor {
namespace {

/// A process that sleeps; killed at the end.
class Sleeper {
 public:
  Sleeper() {
    char name[] = "sleep";
    char time[] = "60";
    char* arguments[] = {name, time, nullptr};
    EXPECT_EQ(::posix_spawnp(&pid_, "sleep", nullptr, nullptr, arguments, environ), 0);
  }
  ~Sleeper() {
    ::kill(pid_, SIGKILL);
    ::waitpid(pid_, nullptr, 0);
  }

  pid_t pid() const { return pid_; }
  ProcessIdentity identity() const {
    ProcessIdentity identity = this_process();
    identity.pid = pid_;
    std::ifstream stat("/proc/" + std::to_string(pid_) + "/stat");
    std::string word;
    for (int field = 1; field <= 22; ++field) stat >> word;
    identity.start_ticks = std::stoll(word);
    return identity;
  }

 private:
  pid_t pid_ = 0;
};

/// Waits up to 5 s for the kernel to show the state.
ProcessState settled(const ProcessIdentity& process, ProcessState expected) {
  for (int attempt = 0; attempt < 100 && state_of(process) != expected; ++attempt) {
    std::this_thread::sleep_for(std::chrono::milliseconds(50));
  }
  return state_of(process);
}

TEST(Process, ThisOneRuns) {
  const ProcessIdentity self = this_process();
  EXPECT_GT(self.start_ticks, 0);
  EXPECT_FALSE(self.host_name.empty());
  EXPECT_EQ(state_of(self), ProcessState::kRunning);
}

TEST(Process, IsStoppedBySigstopAndGoneAsAZombie) {
  const Sleeper sleeper;
  const ProcessIdentity process = sleeper.identity();
  EXPECT_EQ(state_of(process), ProcessState::kRunning);
  ::kill(sleeper.pid(), SIGSTOP);
  EXPECT_EQ(settled(process, ProcessState::kStopped), ProcessState::kStopped);
  ::kill(sleeper.pid(), SIGKILL);
  EXPECT_EQ(settled(process, ProcessState::kGone), ProcessState::kGone);
}

TEST(Process, IsGoneWhenAnotherHasItsPid) {
  ProcessIdentity reused = this_process();
  reused.start_ticks -= 1;
  EXPECT_EQ(state_of(reused), ProcessState::kGone);
}

}  // namespace
}  // namespace meshplan::executor

#include "cli/child_process.h"

#include <fcntl.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <charconv>
#include <chrono>
#include <csignal>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <iterator>

#include "common/error.h"

namespace meshplan::cli {
namespace {

using common::Error;
using common::ErrorCode;
using Clock = std::chrono::steady_clock;

constexpr int kReportDescriptor = 3;
constexpr int kCannotStart = 127;
// `timeout` and the like signal a process and its group, which is one wish and not two.
constexpr auto kSameWish = std::chrono::seconds(1);

[[noreturn]] void fail(const std::string& program, const char* doing, int reason) {
  throw Error(ErrorCode::kIo, std::string("cannot ") + doing + ": " + std::strerror(reason),
              program);
}

sigset_t watched_signals() {
  sigset_t signals;
  sigemptyset(&signals);
  for (int signal : {SIGINT, SIGTERM, SIGHUP, SIGUSR1, SIGCHLD}) sigaddset(&signals, signal);
  return signals;
}

std::vector<char*> pointers_to(const std::vector<std::string>& command) {
  std::vector<char*> pointers;
  for (const std::string& argument : command)
    pointers.push_back(const_cast<char*>(argument.c_str()));
  pointers.push_back(nullptr);
  return pointers;
}

/// The child's side of fork: descriptors, environment, process group; then the program itself.
[[noreturn]] void start_program(const std::vector<std::string>& command,
                                const std::vector<Variable>& environment, int report, pid_t parent,
                                const sigset_t& unblocked) {
  // A group of its own: Ctrl-C reaches this program's ranks once, from us, and not from the
  // terminal as well.
  ::setpgid(0, 0);
  ::prctl(PR_SET_PDEATHSIG, SIGTERM);
  if (::getppid() != parent) ::_exit(kCannotStart);
  if (report == kReportDescriptor) {
    ::fcntl(report, F_SETFD, 0);
  } else {
    ::dup2(report, kReportDescriptor);
  }
  if (const int nothing = ::open("/dev/null", O_RDONLY); nothing >= 0)
    ::dup2(nothing, STDIN_FILENO);
  for (const Variable& variable : environment)
    ::setenv(variable.name.c_str(), variable.value.c_str(), 0);
  ::sigprocmask(SIG_SETMASK, &unblocked, nullptr);
  ::execv(command.front().c_str(), pointers_to(command).data());
  const std::string reason =
      std::string("cannot start ") + command.front() + ": " + std::strerror(errno);
  [[maybe_unused]] const ssize_t written = ::write(kReportDescriptor, reason.data(), reason.size());
  ::_exit(kCannotStart);
}

int exit_code_of(int status) {
  return WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
}

/// Waits for the child and passes signals on to it.
ChildEnd wait_for(pid_t child, const sigset_t& watched) {
  ChildEnd end;
  Clock::time_point first_wish;
  int status = 0;
  while (::waitpid(child, &status, WNOHANG) != child) {
    const int signal = ::sigwaitinfo(&watched, nullptr);
    if (signal <= 0 || signal == SIGCHLD) continue;
    if (end.interrupted_by == 0) {
      end.interrupted_by = signal;
      first_wish = Clock::now();
      ::kill(child, signal);
    } else if (Clock::now() - first_wish > kSameWish) {
      ::kill(-child, SIGKILL);
    }
  }
  end.exit_code = exit_code_of(status);
  return end;
}

/// The parent of a process by /proc/PID/stat, proc(5): the second field after the command's name in
/// parentheses. 0 where it is gone.
pid_t parent_of(const std::filesystem::path& process) {
  std::ifstream file(process / "stat");
  // Not by iterators: reading fails for a process that ends just now, and they throw then.
  std::string text;
  std::getline(file, text, '\0');
  const std::size_t name_end = text.rfind(") ");
  constexpr std::size_t kFromNameToParent = 4;
  if (name_end == std::string::npos || name_end + kFromNameToParent >= text.size()) return 0;
  pid_t parent = 0;
  std::from_chars(text.data() + name_end + kFromNameToParent, text.data() + text.size(), parent);
  return parent;
}

std::vector<pid_t> children() {
  std::vector<pid_t> found;
  std::error_code ignored;
  for (const auto& entry : std::filesystem::directory_iterator("/proc", ignored)) {
    const std::string name = entry.path().filename();
    pid_t process = 0;
    const auto [end, error] = std::from_chars(name.data(), name.data() + name.size(), process);
    if (error == std::errc() && end == name.data() + name.size() &&
        parent_of(entry.path()) == ::getpid()) {
      found.push_back(process);
    }
  }
  return found;
}

/// Orphans become children of this process, as it is their subreaper; killing one may make more.
/// The children that it had before are not ours: a shell may have become this program.
void kill_what_is_left(const std::vector<pid_t>& before) {
  const auto left = [&before] {
    std::vector<pid_t> found = children();
    std::erase_if(found, [&before](pid_t process) {
      return std::find(before.begin(), before.end(), process) != before.end();
    });
    return found;
  };
  for (std::vector<pid_t> processes = left(); !processes.empty(); processes = left()) {
    for (pid_t process : processes) ::kill(process, SIGKILL);
    for (pid_t process : processes) ::waitpid(process, nullptr, 0);
  }
}

std::string read_report(int descriptor) {
  std::array<char, 1 << 16> buffer{};
  std::size_t size = 0;
  for (;;) {
    const ssize_t count = ::read(descriptor, buffer.data() + size, buffer.size() - size);
    if (count < 0 && errno == EINTR) continue;
    if (count <= 0) return {buffer.data(), size};
    size += static_cast<std::size_t>(count);
  }
}

}  // namespace

ChildEnd run_child(const std::vector<std::string>& command,
                   const std::vector<Variable>& environment) {
  const sigset_t watched = watched_signals();
  sigset_t before;
  // Whoever started us may ignore SIGCHLD, and then there would be nothing to wait for.
  ::signal(SIGCHLD, SIG_DFL);
  ::sigprocmask(SIG_BLOCK, &watched, &before);
  ::prctl(PR_SET_CHILD_SUBREAPER, 1);
  std::array<int, 2> report{};
  if (::pipe2(report.data(), O_CLOEXEC) != 0) fail(command.front(), "open a pipe to it", errno);
  const std::vector<pid_t> older_children = children();
  const pid_t parent = ::getpid();
  const pid_t child = ::fork();
  if (child < 0) fail(command.front(), "fork", errno);
  if (child == 0) start_program(command, environment, report[1], parent, before);
  ::close(report[1]);
  ChildEnd end = wait_for(child, watched);
  kill_what_is_left(older_children);
  end.report = read_report(report[0]);
  ::close(report[0]);
  ::sigprocmask(SIG_SETMASK, &before, nullptr);
  return end;
}

void become(const std::vector<std::string>& command) {
  ::execv(command.front().c_str(), pointers_to(command).data());
  fail(command.front(), "start it", errno);
}

}  // namespace meshplan::cli

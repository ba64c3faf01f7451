#include "executor/launch/requeue.h"

#include <fmt/format.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <csignal>
#include <cstring>
#include <string>

namespace meshplan::executor {
namespace {

/// Runs a program of PATH to its end, with our output. Its exit code; -1 where it cannot be run,
/// for the reason in errno.
int run(const char* program, const std::string& verb, const std::string& object) {
  posix_spawnattr_t attributes;
  posix_spawnattr_init(&attributes);
  sigset_t none;
  sigemptyset(&none);
  // Signals are blocked in a rank; scontrol has to be stoppable.
  posix_spawnattr_setsigmask(&attributes, &none);
  posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGMASK);
  std::string name = program;
  std::string what = verb;
  std::string which = object;
  const std::array<char*, 4> arguments = {name.data(), what.data(), which.data(), nullptr};
  pid_t child = 0;
  const int problem =
      ::posix_spawnp(&child, program, nullptr, &attributes, arguments.data(), environ);
  posix_spawnattr_destroy(&attributes);
  errno = problem;
  if (problem != 0) return -1;
  int status = 0;
  while (::waitpid(child, &status, 0) < 0) {
    if (errno != EINTR) return -1;
  }
  return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

}  // namespace

std::string requeue_slurm_job(const formats::VariableLookup& lookup) {
  const auto job = formats::find_variable(lookup, "SLURM_JOB_ID|SLURM_JOBID");
  if (!job || !formats::whole_number(job->value)) return "";
  const int code = run("scontrol", "requeue", job->value);
  if (code == 0) return fmt::format("Slurm job {} is requeued", job->value);
  const std::string reason =
      code < 0 ? std::string(std::strerror(errno)) : fmt::format("exit code {}", code);
  return fmt::format(
      "Slurm job {} is not requeued: `scontrol requeue {}` failed ({}); submit it again",
      job->value, job->value, reason);
}

}  // namespace meshplan::executor

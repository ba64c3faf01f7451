#include "executor/launch/process.h"

#include <fmt/format.h>
#include <unistd.h>

#include <array>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <optional>
#include <sstream>

namespace meshplan::executor {
namespace {

struct Stat {
  char state = '?';
  std::int64_t start_ticks = 0;
};

/// proc(5): the fields after the command's name, which is in parentheses and may hold any
/// character.
std::optional<Stat> read_stat(std::int64_t pid) {
  std::ifstream file(fmt::format("/proc/{}/stat", pid));
  // Not by iterators: reading fails for a process that ends just now, and they throw then.
  std::string text;
  std::getline(file, text, '\0');
  const std::size_t name_end = text.rfind(')');
  if (name_end == std::string::npos) return std::nullopt;
  std::istringstream fields(text.substr(name_end + 1));
  Stat stat;
  fields >> stat.state;
  std::string skipped;
  constexpr int kStateField = 3;
  constexpr int kStartField = 22;
  for (int field = kStateField + 1; field < kStartField; ++field) fields >> skipped;
  fields >> stat.start_ticks;
  return fields ? std::optional(stat) : std::nullopt;
}

std::string first_line(const char* path) {
  std::ifstream file(path);
  std::string line;
  std::getline(file, line);
  return line;
}

}  // namespace

ProcessIdentity this_process() {
  ProcessIdentity identity;
  identity.pid = ::getpid();
  if (const auto stat = read_stat(identity.pid)) identity.start_ticks = stat->start_ticks;
  std::error_code unknown;
  identity.pid_space = first_line("/proc/sys/kernel/random/boot_id") + "/" +
                       std::filesystem::read_symlink("/proc/self/ns/pid", unknown).string();
  std::array<char, 256> name{};
  ::gethostname(name.data(), name.size() - 1);
  identity.host_name = name.data();
  return identity;
}

ProcessState state_of(const ProcessIdentity& process) {
  const auto stat = read_stat(process.pid);
  if (!stat)
    return std::filesystem::exists("/proc/self/stat") ? ProcessState::kGone
                                                      : ProcessState::kRunning;
  if (stat->start_ticks != process.start_ticks) return ProcessState::kGone;
  switch (stat->state) {
    case 'Z':
    case 'X':
      return ProcessState::kGone;
    case 'T':
    case 't':
      return ProcessState::kStopped;
    default:
      return ProcessState::kRunning;
  }
}

}  // namespace meshplan::executor

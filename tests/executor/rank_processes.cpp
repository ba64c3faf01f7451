#include "tests/executor/rank_processes.h"

#include <fcntl.h>
#include <netinet/in.h>
#include <signal.h>
#include <spawn.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <fstream>
#include <iterator>
#include <random>
#include <stdexcept>
#include <thread>

namespace meshplan::tests {
namespace {

using Clock = std::chrono::steady_clock;

std::vector<char*> pointers_to(std::vector<std::string>& texts) {
  std::vector<char*> pointers;
  for (std::string& text : texts) pointers.push_back(text.data());
  pointers.push_back(nullptr);
  return pointers;
}

/// Ours, less what a launcher or an earlier test may have left in it, plus `added`.
std::vector<std::string> environment_with(const Environment& added) {
  std::vector<std::string> all;
  for (char** entry = environ; *entry != nullptr; ++entry) {
    const std::string text = *entry;
    const std::string name = text.substr(0, text.find('='));
    if (name.find("RANK") == std::string::npos && !name.ends_with("WORLD_SIZE") &&
        !name.starts_with("MASTER_") && !name.starts_with("TORCHELASTIC_") &&
        !added.contains(name)) {
      all.push_back(text);
    }
  }
  for (const auto& [name, value] : added) all.push_back(name + "=" + value);
  return all;
}

int exit_code_of(int status) {
  return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

std::size_t count_words(const std::string& text, const std::string& word) {
  std::size_t count = 0;
  for (std::size_t at = text.find(word); at != std::string::npos; at = text.find(word, at + 1))
    ++count;
  return count;
}

}  // namespace

TestProcesses::TestProcesses() : started_(Clock::now()) {
  ::prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0);
}

TestProcesses::~TestProcesses() {
  for (const Process& process : processes_) {
    if (process.ended.exit_code < 0) ::kill(process.pid, SIGKILL);
  }
  wait(std::chrono::seconds(10));
  count_orphans();
}

std::size_t TestProcesses::start(const std::vector<std::string>& command,
                                 const Environment& environment) {
  const std::filesystem::path output = folder_ / ("output-" + std::to_string(processes_.size()));
  posix_spawn_file_actions_t files;
  ::posix_spawn_file_actions_init(&files);
  ::posix_spawn_file_actions_addopen(&files, 0, "/dev/null", O_RDONLY, 0);
  ::posix_spawn_file_actions_addopen(&files, 1, output.c_str(), O_WRONLY | O_CREAT | O_APPEND,
                                     0600);
  ::posix_spawn_file_actions_adddup2(&files, 1, 2);
  std::vector<std::string> arguments = command;
  std::vector<std::string> variables = environment_with(environment);
  pid_t pid = 0;
  const int failure = ::posix_spawn(&pid, command.front().c_str(), &files, nullptr,
                                    pointers_to(arguments).data(), pointers_to(variables).data());
  ::posix_spawn_file_actions_destroy(&files);
  if (failure != 0) throw std::runtime_error("cannot start " + command.front());
  processes_.push_back({pid, output, {}});
  return processes_.size() - 1;
}

void TestProcesses::start_ranks(const std::string& program, const std::string& scenario,
                                std::int64_t ranks, const Environment& environment) {
  Environment shared = environment;
  shared.try_emplace("MASTER_ADDR", "127.0.0.1");
  shared.try_emplace("MASTER_PORT", std::to_string(free_port()));
  shared["WORLD_SIZE"] = shared["LOCAL_WORLD_SIZE"] = std::to_string(ranks);
  for (std::int64_t rank = 0; rank < ranks; ++rank) {
    shared["RANK"] = shared["LOCAL_RANK"] = std::to_string(rank);
    start({program, scenario, run_folder().string()}, shared);
  }
}

void TestProcesses::reap() {
  for (Process& process : processes_) {
    int status = 0;
    if (process.ended.exit_code < 0 && ::waitpid(process.pid, &status, WNOHANG) == process.pid) {
      process.ended = {exit_code_of(status), seconds()};
    }
  }
}

std::vector<Ended> TestProcesses::wait(std::chrono::seconds deadline) {
  const Clock::time_point end = Clock::now() + deadline;
  for (;;) {
    reap();
    std::vector<Ended> all;
    bool running = false;
    for (const Process& process : processes_) {
      all.push_back(process.ended);
      running = running || process.ended.exit_code < 0;
    }
    if (!running || Clock::now() > end) return all;
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
  }
}

bool TestProcesses::wait_for_word(const std::string& word, std::size_t times,
                                  std::chrono::seconds deadline) const {
  const Clock::time_point end = Clock::now() + deadline;
  while (Clock::now() < end) {
    if (count_words(all_output(), word) >= times) return true;
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
  }
  return false;
}

void TestProcesses::send(std::size_t process, int signal) const {
  ::kill(processes_[process].pid, signal);
}

double TestProcesses::seconds() const {
  return std::chrono::duration<double>(Clock::now() - started_).count();
}

std::string TestProcesses::output(std::size_t process) const {
  std::ifstream file(processes_[process].output);
  return {std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
}

std::string TestProcesses::all_output() const {
  std::string all;
  for (std::size_t process = 0; process < processes_.size(); ++process) {
    all += "[process " + std::to_string(process) + "]\n" + output(process);
  }
  return all;
}

int TestProcesses::count_orphans() {
  int orphans = 0;
  std::ifstream children("/proc/self/task/" + std::to_string(::gettid()) + "/children");
  for (pid_t pid = 0; children >> pid;) {
    ++orphans;
    ::kill(pid, SIGKILL);
    ::waitpid(pid, nullptr, 0);
  }
  return orphans;
}

int free_port() {
  std::random_device random;
  for (int attempt = 0; attempt < 100; ++attempt) {
    const int port = 20000 + static_cast<int>(random() % 12000);
    const int handle = ::socket(AF_INET6, SOCK_STREAM | SOCK_CLOEXEC, 0);
    sockaddr_in6 address{};
    address.sin6_family = AF_INET6;
    address.sin6_addr = in6addr_any;
    address.sin6_port = htons(static_cast<std::uint16_t>(port));
    const bool free =
        ::bind(handle, reinterpret_cast<const sockaddr*>(&address), sizeof(address)) == 0;
    ::close(handle);
    if (free) return port;
  }
  throw std::runtime_error("no free port between 20000 and 32000");
}

}  // namespace meshplan::tests

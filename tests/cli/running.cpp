#include "tests/cli/running.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>

#include "common/error.h"

namespace meshplan::tests {
namespace {

double now() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

/// An empty file; returns its path.
std::string output_file() {
  std::string name = (std::filesystem::temp_directory_path() / "meshplan-output-XXXXXX").string();
  const int file = ::mkstemp(name.data());
  if (file < 0) throw std::runtime_error("cannot make " + name);
  ::close(file);
  return name;
}

std::string content_of(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
}

void redirect(const std::string& path, int descriptor) {
  const int file = ::open(path.c_str(), O_WRONLY | O_TRUNC);
  ::dup2(file, descriptor);
  ::close(file);
}

}  // namespace

Running::Running(const std::vector<std::string>& command, const Variables& environment)
    : start_(now()), out_path_(output_file()), err_path_(output_file()) {
  std::vector<char*> arguments;
  for (const std::string& argument : command)
    arguments.push_back(const_cast<char*>(argument.c_str()));
  arguments.push_back(nullptr);
  pid_ = ::fork();
  if (pid_ != 0) return;
  // A launcher or a named Python around the tests is not theirs.
  for (const char* variable : {"TORCHELASTIC_RUN_ID", "RANK", "LOCAL_RANK", "WORLD_SIZE",
                               "LOCAL_WORLD_SIZE", "OMPI_COMM_WORLD_RANK", "PMI_RANK",
                               "SLURM_PROCID", "PET_NNODES", "MESHPLAN_TORCH_PYTHON"}) {
    ::unsetenv(variable);
  }
  for (const auto& [name, value] : environment) ::setenv(name.c_str(), value.c_str(), 1);
  redirect(out_path_, STDOUT_FILENO);
  redirect(err_path_, STDERR_FILENO);
  ::execv(arguments.front(), arguments.data());
  ::_exit(126);
}

Running::~Running() {
  if (pid_ > 0) {
    ::kill(pid_, SIGKILL);
    ::waitpid(pid_, nullptr, 0);
  }
  std::filesystem::remove(out_path_);
  std::filesystem::remove(err_path_);
}

Ended Running::wait() {
  int status = 0;
  ::waitpid(pid_, &status, 0);
  pid_ = -1;
  return {WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status), content_of(out_path_),
          content_of(err_path_), now() - start_};
}

Ended meshplan(const std::vector<std::string>& arguments, const Variables& environment) {
  std::vector<std::string> command = {MESHPLAN_PROGRAM};
  command.insert(command.end(), arguments.begin(), arguments.end());
  return Running(command, environment).wait();
}

common::Json json_of(const Ended& ended) {
  try {
    return common::parse_json(ended.out, "stdout");
  } catch (const common::Error& error) {
    ADD_FAILURE() << error.what() << "\nstdout:\n" << ended.out << "\nstderr:\n" << ended.err;
    return common::Json::object();
  }
}

void write_script(const std::string& path, const std::string& text) {
  {
    std::ofstream file(path);
    file << "#!/bin/sh\n" << text;
  }
  std::filesystem::permissions(path, std::filesystem::perms::owner_all);
}

}  // namespace meshplan::tests

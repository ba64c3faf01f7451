#include "cli/installation.h"

#include <unistd.h>

#include <cstdlib>
#include <fstream>
#include <sstream>
#include <string>

namespace meshplan::cli {
namespace {

namespace fs = std::filesystem;

fs::path found_in_path(const char* program) {
  const char* path = std::getenv("PATH");
  std::istringstream folders(path == nullptr ? "" : path);
  std::error_code ignored;
  for (std::string folder; std::getline(folders, folder, ':');) {
    const fs::path candidate = fs::path(folder.empty() ? "." : folder) / program;
    if (::access(candidate.c_str(), X_OK) == 0 && !fs::is_directory(candidate, ignored))
      return candidate;
  }
  return {};
}

}  // namespace

fs::path program_folder() {
  std::error_code ignored;
  return fs::read_symlink("/proc/self/exe", ignored).parent_path();
}

fs::path data_folder() { return program_folder().parent_path() / "share" / "meshplan"; }

fs::path default_torch_python() {
  std::ifstream record(data_folder() / "torch_python");
  std::string recorded;
  if (std::getline(record, recorded) && !recorded.empty()) return recorded;
  return found_in_path("python3");
}

}  // namespace meshplan::cli

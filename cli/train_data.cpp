#include "cli/train_data.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/file.h>
#include <unistd.h>

#include <algorithm>
#include <cctype>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <vector>

#include "cli/child_process.h"
#include "cli/installation.h"
#include "cli/launch.h"
#include "common/error.h"
#include "common/file.h"

namespace meshplan::cli {
namespace {

namespace fs = std::filesystem;
using common::Error;
using common::ErrorCode;

bool is_file(const std::string& name) {
  std::error_code absent;
  return fs::is_regular_file(name, absent);
}

/// FNV-1a, 64 bits (draft-eastlake-fnv).
std::uint64_t checksum(const std::string& text) {
  std::uint64_t value = 0xcbf29ce484222325ULL;
  for (const char c : text) value = (value ^ static_cast<unsigned char>(c)) * 0x100000001b3ULL;
  return value;
}

/// The data set's name as a part of a folder's.
std::string folder_name(const NamedDataset& dataset) {
  std::string name = is_file(dataset.name) ? fs::path(dataset.name).stem().string() : dataset.name;
  std::replace_if(
      name.begin(), name.end(),
      [](char c) { return std::isalnum(static_cast<unsigned char>(c)) == 0 && c != '-'; }, '_');
  return fmt::format("{}-{:016x}", name.substr(0, 60), checksum(dataset_key(dataset).dump()));
}

/// Held by one process of this machine (of all, on file systems that say so) at a time.
class FolderLock {
 public:
  explicit FolderLock(const fs::path& folder) {
    const fs::path path = folder / ".lock";
    file_ = ::open(path.c_str(), O_CREAT | O_RDWR | O_CLOEXEC, 0666);
    if (file_ >= 0 && ::flock(file_, LOCK_EX) == 0) return;
    const std::string reason = std::strerror(errno);
    if (file_ >= 0) ::close(file_);
    throw Error(ErrorCode::kIo, "cannot lock: " + reason, path.string());
  }
  ~FolderLock() { ::close(file_); }
  FolderLock(const FolderLock&) = delete;
  FolderLock& operator=(const FolderLock&) = delete;

 private:
  int file_ = -1;
};

fs::path preparing_script() {
  const char* named = std::getenv("MESHPLAN_PREPARE_DATA");
  const fs::path script =
      named != nullptr && *named != '\0' ? named : data_folder() / "prepare_data";
  if (is_file(script.string())) return script;
  throw Error(ErrorCode::kIo,
              script.string() +
                  ": is missing; name the project's scripts/prepare_data: "
                  "MESHPLAN_PREPARE_DATA=/path/to/prepare_data, or give --data PREFIX",
              "--dataset-name");
}

void run_preparation(const NamedDataset& dataset, const std::string& prefix) {
  std::vector<std::string> command = {torch_python(), preparing_script()};
  command.insert(command.end(), {is_file(dataset.name) ? "--text" : "--dataset", dataset.name,
                                 "--tokenizer", dataset.tokenizer, "--percentage",
                                 fmt::format("{}", dataset.percentage), "--out", prefix});
  if (dataset.append_eos) command.push_back("--append-eos");
  const ChildEnd end = run_child(command, {});
  if (end.exit_code == 0) return;
  if (end.interrupted_by != 0)
    throw Error(ErrorCode::kInterrupted, "stopped while preparing", dataset.name);
  throw Error(
      end.exit_code == static_cast<int>(ErrorCode::kIo) ? ErrorCode::kIo : ErrorCode::kInvalidInput,
      "the data set cannot be prepared, see above; without a network, give a local text, .jsonl or "
      ".parquet file as --dataset-name, or a prepared --data PREFIX",
      dataset.name);
}

}  // namespace

common::Json dataset_key(const NamedDataset& dataset) {
  common::Json key = {{"dataset", dataset.name},
                      {"tokenizer", dataset.tokenizer},
                      {"percentage", dataset.percentage},
                      {"append_eos", dataset.append_eos}};
  if (!is_file(dataset.name)) return key;
  const fs::path file = fs::canonical(dataset.name);
  key["dataset"] = file.string();
  key["bytes"] = fs::file_size(file);
  key["written"] = fs::last_write_time(file).time_since_epoch().count();
  return key;
}

std::string prepare_dataset(const NamedDataset& dataset, const fs::path& storage) {
  const fs::path folder = fs::absolute(storage) / "datasets" / folder_name(dataset);
  const fs::path done = folder / "made-from.json";
  const std::string prefix = (folder / "tokens").string();
  std::error_code failure;
  fs::create_directories(folder, failure);
  const FolderLock lock(folder);
  if (is_file(done.string())) return prefix;
  run_preparation(dataset, prefix);
  // Last: without it the folder counts as empty.
  common::write_file(done, dataset_key(dataset).dump(2) + "\n");
  return prefix;
}

}  // namespace meshplan::cli

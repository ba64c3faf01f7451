#include "formats/checkpoint_folder.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <cstring>
#include <random>
#include <string_view>
#include <system_error>

#include "common/error.h"
#include "common/file.h"

namespace meshplan::formats {
namespace {

namespace fs = std::filesystem;
using common::Error;
using common::ErrorCode;

constexpr std::string_view kPrefix = "step-";
constexpr std::string_view kUnfinished = ".tmp-";
constexpr std::string_view kDoomed = ".purge-";
constexpr std::string_view kAside = ".aside-";
constexpr std::size_t kMostDigits = 18;

[[noreturn]] void fail(const fs::path& path, const char* doing, const std::string& reason) {
  throw Error(ErrorCode::kIo, fmt::format("cannot {}: {}", doing, reason), path.string());
}

fs::path renamed(const fs::path& path, std::string_view mark) {
  std::random_device source;
  return path.string() + fmt::format("{}{:08x}{:08x}", mark, source(), source());
}

void rename_to(const fs::path& from, const fs::path& to) {
  if (::rename(from.c_str(), to.c_str()) != 0) fail(from, "rename", std::strerror(errno));
}

std::vector<fs::directory_entry> entries_of(const fs::path& folder) {
  std::error_code failure;
  std::vector<fs::directory_entry> entries;
  if (!fs::exists(folder, failure)) return entries;
  for (auto item = fs::directory_iterator(folder, failure);
       !failure && item != fs::directory_iterator(); item.increment(failure)) {
    entries.push_back(*item);
  }
  if (failure) fail(folder, "list", failure.message());
  return entries;
}

void delete_tree(const fs::path& path) {
  std::error_code failure;
  fs::remove_all(path, failure);
  if (failure) fail(path, "delete", failure.message());
}

}  // namespace

fs::path checkpoints_path(const fs::path& run) { return run / "checkpoints"; }

std::string checkpoint_name(std::int64_t step) { return fmt::format("{}{}", kPrefix, step); }

std::optional<std::int64_t> step_of(const std::string& name) {
  if (!name.starts_with(kPrefix) || name.size() > kPrefix.size() + kMostDigits) return std::nullopt;
  std::int64_t step = 0;
  const char* const end = name.data() + name.size();
  const auto [stop, error] = std::from_chars(name.data() + kPrefix.size(), end, step);
  if (error != std::errc() || stop != end || step < 0 || checkpoint_name(step) != name)
    return std::nullopt;
  return step;
}

std::vector<FinishedCheckpoint> list_checkpoints(const fs::path& checkpoints) {
  std::vector<FinishedCheckpoint> found;
  for (const fs::directory_entry& entry : entries_of(checkpoints)) {
    const auto step = step_of(entry.path().filename().string());
    std::error_code ignored;
    if (step && entry.is_directory(ignored)) found.push_back({*step, entry.path()});
  }
  std::sort(found.begin(), found.end(),
            [](const auto& a, const auto& b) { return a.step < b.step; });
  return found;
}

fs::path make_unfinished(const fs::path& checkpoints, std::int64_t step) {
  const fs::path folder = renamed(checkpoints / checkpoint_name(step), kUnfinished);
  std::error_code failure;
  fs::create_directories(folder, failure);
  if (failure) fail(folder, "make", failure.message());
  return folder;
}

void flush_folder(const fs::path& folder) {
  const int descriptor = ::open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (descriptor < 0) fail(folder, "open", std::strerror(errno));
  // Some network file systems refuse to flush a folder, and flush it with its files.
  const bool flushed = ::fsync(descriptor) == 0 || errno == EINVAL || errno == EROFS;
  const std::string reason = flushed ? "" : std::strerror(errno);
  ::close(descriptor);
  if (!flushed) fail(folder, "flush", reason);
}

void publish(const fs::path& unfinished, const fs::path& finished) {
  std::error_code failure;
  for (auto item = fs::recursive_directory_iterator(unfinished, failure);
       !failure && item != fs::recursive_directory_iterator(); item.increment(failure)) {
    if (item->is_directory()) flush_folder(item->path());
  }
  if (failure) fail(unfinished, "list", failure.message());
  flush_folder(unfinished);
  rename_to(unfinished, finished);
  flush_folder(finished.parent_path());
  common::write_file(finished.parent_path() / "LATEST", finished.filename().string() + "\n");
  flush_folder(finished.parent_path());
}

std::vector<fs::path> set_aside_after(const fs::path& checkpoints, std::int64_t step) {
  std::vector<fs::path> aside;
  for (const FinishedCheckpoint& checkpoint : list_checkpoints(checkpoints)) {
    if (checkpoint.step <= step) continue;
    aside.push_back(renamed(checkpoint.path, kAside));
    rename_to(checkpoint.path, aside.back());
  }
  if (!aside.empty()) flush_folder(checkpoints);
  return aside;
}

void purge(const fs::path& checkpoints, std::int64_t keep) {
  const std::vector<FinishedCheckpoint> all = list_checkpoints(checkpoints);
  for (std::int64_t i = 0; i < std::ssize(all) - keep; ++i) {
    const fs::path& old = all[static_cast<std::size_t>(i)].path;
    const fs::path doomed = renamed(old, kDoomed);
    rename_to(old, doomed);
    delete_tree(doomed);
  }
}

void remove_unfinished(const fs::path& checkpoints) {
  for (const fs::directory_entry& entry : entries_of(checkpoints)) {
    const std::string name = entry.path().filename().string();
    const std::size_t mark = std::min(name.find(kUnfinished), name.find(kDoomed));
    if (mark != std::string::npos && step_of(name.substr(0, mark))) delete_tree(entry.path());
  }
}

}  // namespace meshplan::formats

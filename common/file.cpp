#include "common/file.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <fstream>
#include <iterator>

#include "common/error.h"

namespace meshplan::common {
namespace {

[[noreturn]] void fail(const std::filesystem::path& path, const char* doing) {
  throw Error(ErrorCode::kIo, std::string("cannot ") + doing + ": " + std::strerror(errno),
              path.string());
}

void write_all(int file, std::string_view content, const std::filesystem::path& path) {
  while (!content.empty()) {
    const ssize_t written = ::write(file, content.data(), content.size());
    if (written < 0 && errno == EINTR) continue;
    if (written < 0) fail(path, "write");
    content.remove_prefix(static_cast<std::size_t>(written));
  }
}

bool is_device_or_pipe(const std::filesystem::path& path) {
  std::error_code ignored;
  return std::filesystem::is_other(path, ignored);
}

void write_into(const std::filesystem::path& path, std::string_view content) {
  const int file = ::open(path.c_str(), O_WRONLY | O_CLOEXEC);
  if (file < 0) fail(path, "open");
  try {
    write_all(file, content, path);
  } catch (...) {
    ::close(file);
    throw;
  }
  ::close(file);
}

}  // namespace

std::string read_file(const std::filesystem::path& path, Bytes limit) {
  std::error_code ignored;
  if (std::filesystem::is_directory(path, ignored)) {
    throw Error(ErrorCode::kIo, "is a directory, not a file", path.string());
  }
  std::ifstream stream(path, std::ios::binary);
  if (!stream) fail(path, "read");
  std::string content;
  char buffer[1 << 16];
  while (stream.read(buffer, sizeof buffer), stream.gcount() > 0) {
    content.append(buffer, static_cast<std::size_t>(stream.gcount()));
    if (content.size() > static_cast<std::size_t>(limit.value)) {
      throw Error(ErrorCode::kInvalidInput, "larger than " + std::to_string(limit.value) + " bytes",
                  path.string());
    }
  }
  return content;
}

void write_file(const std::filesystem::path& path, std::string_view content) {
  std::error_code failure;
  if (path.has_parent_path()) std::filesystem::create_directories(path.parent_path(), failure);
  if (failure)
    throw Error(ErrorCode::kIo, "cannot make its folder: " + failure.message(), path.string());
  if (is_device_or_pipe(path)) return write_into(path, content);
  const std::filesystem::path temporary = path.string() + ".tmp-" + std::to_string(::getpid());
  const int file = ::open(temporary.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
  if (file < 0) fail(temporary, "create");
  try {
    write_all(file, content, temporary);
    if (::fsync(file) != 0) fail(temporary, "flush");
  } catch (...) {
    ::close(file);
    ::unlink(temporary.c_str());
    throw;
  }
  ::close(file);
  if (::rename(temporary.c_str(), path.c_str()) != 0) {
    ::unlink(temporary.c_str());
    fail(path, "replace");
  }
}

}  // namespace meshplan::common

#include "formats/json_lines.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstddef>
#include <cstring>
#include <span>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>

#include "common/error.h"
#include "common/file.h"
#include "formats/random_access_file.h"

namespace meshplan::formats {
namespace {

using common::Error;
using common::ErrorCode;

/// The bytes up to and with the last newline.
std::int64_t finished_bytes(const RandomAccessFile& file) {
  std::array<char, 4096> chunk{};
  for (std::int64_t end = file.size(); end > 0;) {
    const auto part =
        std::span(chunk).first(std::min<std::size_t>(chunk.size(), static_cast<std::size_t>(end)));
    end -= static_cast<std::int64_t>(part.size());
    file.read_at(end, std::as_writable_bytes(part));
    const std::size_t newline = std::string_view(part.data(), part.size()).rfind('\n');
    if (newline != std::string_view::npos) return end + static_cast<std::int64_t>(newline) + 1;
  }
  return 0;
}

void cut_unfinished_line(const std::filesystem::path& path) {
  const RandomAccessFile file(path);
  const std::int64_t finished = finished_bytes(file);
  if (finished == file.size()) return;
  std::error_code failure;
  std::filesystem::resize_file(path, static_cast<std::uintmax_t>(finished), failure);
  if (failure) {
    throw Error(ErrorCode::kIo, "cannot cut its unfinished last line: " + failure.message(),
                path.string());
  }
}

}  // namespace

void read_json_lines(const std::filesystem::path& path,
                     const std::function<void(const common::JsonObject&)>& receive) {
  const std::string text = common::read_file(path, common::kGiB);
  std::string_view rest = text;
  for (int line = 1;; ++line) {
    const std::size_t end = rest.find('\n');
    if (end == std::string_view::npos) return;
    const std::string where = fmt::format("{}:{}", path.string(), line);
    const common::Json json = common::parse_json(rest.substr(0, end), where);
    receive(common::JsonObject(json, where));
    rest.remove_prefix(end + 1);
  }
}

JsonLinesWriter::JsonLinesWriter(std::filesystem::path path) : path_(std::move(path)) {
  std::error_code failure;
  if (path_.has_parent_path()) std::filesystem::create_directories(path_.parent_path(), failure);
  if (failure) {
    throw Error(ErrorCode::kIo, "cannot make its folder: " + failure.message(), path_.string());
  }
  if (std::filesystem::is_regular_file(path_, failure)) cut_unfinished_line(path_);
  stream_.open(path_, std::ios::app);
  if (!stream_) {
    throw Error(ErrorCode::kIo, std::string("cannot open: ") + std::strerror(errno),
                path_.string());
  }
}

void JsonLinesWriter::append(const common::Json& line) {
  stream_ << line.dump() + "\n" << std::flush;
  if (stream_) return;
  throw Error(ErrorCode::kIo, std::string("cannot write: ") + std::strerror(errno), path_.string());
}

}  // namespace meshplan::formats

#pragma once

#include <filesystem>
#include <fstream>
#include <functional>

#include "common/json.h"

namespace meshplan::formats {

/// Calls `receive` with the object on each line of a JSON lines file, in order; messages name the
/// file and the line. A last line without its newline was not written to the end, and is left out.
/// Throws kIo where the file cannot be read and kInvalidInput where a line is no JSON object or the
/// file is larger than 1 GiB.
void read_json_lines(const std::filesystem::path& path,
                     const std::function<void(const common::JsonObject&)>& receive);

/// Writes a JSON lines file: each object is in the file before append() returns.
class JsonLinesWriter {
 public:
  /// Continues an existing file, after cutting off a last line that was not written to the end.
  /// Makes missing parent folders. Throws kIo.
  explicit JsonLinesWriter(std::filesystem::path path);

  /// Throws kIo, for instance on a full disk.
  void append(const common::Json& line);

 private:
  std::filesystem::path path_;
  std::ofstream stream_;
};

}  // namespace meshplan::formats

#pragma once

#include <cstddef>
#include <filesystem>
#include <span>

namespace meshplan::formats {

/// A large file written in pieces that appears whole or not at all: the pieces go to a temporary
/// beside it, which commit() flushes to the disk and renames. Without commit() the temporary is
/// removed and an older file stays. For content that fits in a string there is common::write_file.
class ReplacementFile {
 public:
  /// Makes missing parent folders. Throws kIo with the system's reason, as all functions here.
  explicit ReplacementFile(std::filesystem::path path);
  ~ReplacementFile();
  ReplacementFile(const ReplacementFile&) = delete;
  ReplacementFile& operator=(const ReplacementFile&) = delete;

  void append(std::span<const std::byte> bytes);
  /// The last call on this object.
  void commit();

 private:
  [[noreturn]] void fail(const char* doing) const;

  std::filesystem::path path_;
  std::filesystem::path temporary_;
  int descriptor_ = -1;
};

}  // namespace meshplan::formats

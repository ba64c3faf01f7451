#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <span>

namespace meshplan::formats {

/// A regular file read at any offset. Reads are pread calls and never a mapping: when the file
/// shrinks after it was opened, a mapping would end the process with SIGBUS, and a read is an error
/// that says so.
class RandomAccessFile {
 public:
  /// Throws kIo with the system's reason, or when the path is not a regular file.
  explicit RandomAccessFile(std::filesystem::path path);
  ~RandomAccessFile();
  RandomAccessFile(RandomAccessFile&& other) noexcept;
  RandomAccessFile& operator=(RandomAccessFile&& other) noexcept;

  const std::filesystem::path& path() const { return path_; }
  /// Bytes, when it was opened.
  std::int64_t size() const { return size_; }

  /// Fills `out` from the byte `offset` on. Throws kInvalidInput where the file ends before, kIo
  /// where it cannot be read. Safe to call from several threads.
  void read_at(std::int64_t offset, std::span<std::byte> out) const;

 private:
  std::filesystem::path path_;
  int descriptor_ = -1;
  std::int64_t size_ = 0;
};

}  // namespace meshplan::formats

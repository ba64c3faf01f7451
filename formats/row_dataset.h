#pragma once

#include <cstdint>
#include <filesystem>
#include <span>

#include "formats/safetensors.h"

namespace meshplan::formats {

/// Rows of numbers for models that read no tokens: the float32 tensor "rows" [N, width] of a
/// safetensors file. Rows are read when they are asked for.
class RowDataset {
 public:
  /// Throws kInvalidInput, naming the file and the remedy, where it is a token dataset, has no such
  /// tensor, or one of another type or width; otherwise as SafetensorsFile.
  RowDataset(const std::filesystem::path& path, std::int64_t width);

  const std::filesystem::path& path() const { return file_.path(); }
  /// N.
  std::int64_t count() const { return entry_->shape[0]; }

  /// Fills `out` with the rows from `first` on. Requires that the file has so many. Safe to call
  /// from several threads.
  void read(std::int64_t first, std::span<float> out) const;

 private:
  SafetensorsFile file_;
  std::int64_t width_;
  const SafetensorsEntry* entry_;
};

}  // namespace meshplan::formats

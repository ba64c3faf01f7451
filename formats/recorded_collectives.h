#pragma once

#include <filesystem>
#include <span>
#include <string>
#include <vector>

#include "common/units.h"

namespace meshplan::formats {

/// One collective as a rank issued it. bytes: all_reduce the tensor, all_gather its output,
/// reduce_scatter its input; padding included.
struct RecordedCollective {
  /// all_reduce, all_gather or reduce_scatter.
  std::string kind;
  /// The mesh axis whose group it ran over: "tp", "dp_shard".
  std::string axis;
  common::Bytes bytes;

  bool operator==(const RecordedCollective&) const = default;
};

/// Writes one object a line, in the order of issue:
/// {"kind":"all_gather","axis":"dp_shard","bytes":1024}. Throws kIo.
void write_recorded_collectives(const std::filesystem::path& path,
                                std::span<const RecordedCollective> collectives);

/// Reads it back. Throws kIo where it cannot be read and kInvalidInput, naming line and field.
std::vector<RecordedCollective> read_recorded_collectives(const std::filesystem::path& path);

}  // namespace meshplan::formats

#pragma once

#include <filesystem>
#include <string>
#include <string_view>

#include "common/units.h"

namespace meshplan::common {

/// The whole file; throws kIo when it cannot be read, kInvalidInput when it is larger than `limit`.
std::string read_file(const std::filesystem::path& path, Bytes limit);

/// Replaces the file by `content`: a temporary beside it is written, flushed to the disk and
/// renamed, so a reader sees the old file or the new one, whole. Makes missing parent folders. What
/// is no file but a device or a pipe is written to as it is.
/// Throws kIo with the system's reason.
void write_file(const std::filesystem::path& path, std::string_view content);

}  // namespace meshplan::common

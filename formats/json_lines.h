#pragma once

#include <filesystem>
#include <functional>

#include "common/json.h"

namespace meshplan::formats {

/// Calls `receive` with the object on each line of a JSON lines file, in order; messages name the
/// file and the line. A last line without its newline was not written to the end, and is left out.
/// Throws kIo where the file cannot be read and kInvalidInput where a line is no JSON object or the
/// file is larger than 1 GiB.
void read_json_lines(const std::filesystem::path& path,
                     const std::function<void(const common::JsonObject&)>& receive);

}  // namespace meshplan::formats

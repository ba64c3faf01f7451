#pragma once

#include <string>
#include <string_view>

namespace meshplan::formats {

/// The bytes as a gzip file without name or date, so that equal bytes give equal files.
std::string gzip(std::string_view bytes);

}  // namespace meshplan::formats

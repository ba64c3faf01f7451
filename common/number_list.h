#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace meshplan::common {

/// The numbers that "3,5-7" names, in order and each once: 3 5 6 7. Throws kInvalidInput, naming
/// `where`, for another text, and for more than 10,000 numbers.
std::vector<std::int64_t> parse_number_list(const std::string& text, const std::string& where);

}  // namespace meshplan::common

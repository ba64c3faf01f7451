#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "common/units.h"

namespace meshplan::common {

/// "1.50 GiB", "12.0 MiB", "512 B": powers of 1024, three significant digits.
std::string human(Bytes size);

/// "1.23 s", "45.6 ms", "7.89 us": three significant digits.
std::string human(Seconds time);

/// "8.03 B", "1.23 M": a count in powers of 1000.
std::string human_count(double count);

/// Whether a text is valid UTF-8 without control characters, line or paragraph separators and byte
/// order marks: it stays on one line of a script, and YAML takes it as it is.
bool is_one_line(std::string_view text);

/// Divisors of `number` up to 64, as "1, 2, 4 or 8": what may divide it.
std::string divisors(std::int64_t number);

/// Rows as aligned columns, two spaces apart; the first row is the header, underlined. Columns that
/// hold only numbers (after the header) are aligned to the right. Each line ends with a newline.
std::string format_table(const std::vector<std::vector<std::string>>& rows);

}  // namespace meshplan::common

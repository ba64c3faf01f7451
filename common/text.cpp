#include "common/text.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstddef>
#include <utility>

namespace meshplan::common {
namespace {

std::string three_digits(double value) {
  const double size = std::abs(value);
  if (size >= 100) return fmt::format("{:.0f}", value);
  if (size >= 10) return fmt::format("{:.1f}", value);
  return fmt::format("{:.2f}", value);
}

bool starts_numeric(const std::string& cell) {
  if (cell.empty() || cell == "-") return true;
  const char first = cell.front();
  return (first >= '0' && first <= '9') || ((first == '-' || first == '+') && cell.size() > 1);
}

/// Characters shown, not bytes: continuation bytes of UTF-8 take no column.
std::size_t width(const std::string& cell) {
  return static_cast<std::size_t>(std::count_if(cell.begin(), cell.end(), [](char c) {
    return (static_cast<unsigned char>(c) & 0xC0) != 0x80;
  }));
}

/// The code point that starts at `at`, and how many bytes it takes; no bytes where they are no
/// UTF-8 (RFC 3629: shortest form, no surrogates, up to U+10FFFF).
std::pair<char32_t, std::size_t> code_point(std::string_view text, std::size_t at) {
  const auto first = static_cast<unsigned char>(text[at]);
  const std::size_t length = first < 0x80             ? 1
                             : (first & 0xE0) == 0xC0 ? 2
                             : (first & 0xF0) == 0xE0 ? 3
                             : (first & 0xF8) == 0xF0 ? 4
                                                      : 0;
  if (length == 0 || at + length > text.size()) return {0, 0};
  if (length == 1) return {first, 1};
  char32_t code = first & (0x7FU >> length);
  for (std::size_t i = 1; i < length; ++i) {
    const auto next = static_cast<unsigned char>(text[at + i]);
    if ((next & 0xC0) != 0x80) return {0, 0};
    code = (code << 6U) | (next & 0x3FU);
  }
  constexpr std::array<char32_t, 5> kSmallest = {0, 0, 0x80, 0x800, 0x10000};
  const bool surrogate = code >= 0xD800 && code <= 0xDFFF;
  if (code < kSmallest[length] || surrogate || code > 0x10FFFF) return {0, 0};
  return {code, length};
}

}  // namespace

bool is_one_line(std::string_view text) {
  for (std::size_t at = 0; at < text.size();) {
    const auto [code, length] = code_point(text, at);
    const bool control = code < 0x20 || (code >= 0x7F && code < 0xA0);
    const bool separator = code == 0x2028 || code == 0x2029 || code == 0xFEFF;
    if (length == 0 || control || separator || (code & 0xFFFEU) == 0xFFFE) return false;
    at += length;
  }
  return true;
}

std::string human(Bytes size) {
  static constexpr std::array kUnits = {"B", "KiB", "MiB", "GiB", "TiB", "PiB"};
  auto value = static_cast<double>(size.value);
  std::size_t unit = 0;
  while (std::abs(value) >= 1024 && unit + 1 < kUnits.size()) {
    value /= 1024;
    ++unit;
  }
  return unit == 0 ? fmt::format("{} B", size.value) : three_digits(value) + " " + kUnits[unit];
}

std::string human(Seconds time) {
  const double size = std::abs(time.value);
  if (size == 0) return "0 s";
  if (size >= 1) return three_digits(time.value) + " s";
  if (size >= 1e-3) return three_digits(time.value * 1e3) + " ms";
  return three_digits(time.value * 1e6) + " us";
}

std::string human_count(double count) {
  static constexpr std::array kUnits = {"", " K", " M", " B", " T"};
  std::size_t unit = 0;
  while (std::abs(count) >= 1000 && unit + 1 < kUnits.size()) {
    count /= 1000;
    ++unit;
  }
  return unit == 0 ? fmt::format("{:.0f}", count) : three_digits(count) + kUnits[unit];
}

std::string divisors(std::int64_t number) {
  std::vector<std::int64_t> found;
  for (std::int64_t d = 1; d <= std::min<std::int64_t>(number, 64); ++d) {
    if (number % d == 0) found.push_back(d);
  }
  std::string text;
  for (std::size_t i = 0; i < found.size(); ++i) {
    if (i > 0) text += i + 1 == found.size() ? " or " : ", ";
    text += std::to_string(found[i]);
  }
  return text;
}

std::string format_table(const std::vector<std::vector<std::string>>& rows) {
  std::vector<std::size_t> widths;
  std::vector<bool> numeric;
  for (std::size_t r = 0; r < rows.size(); ++r) {
    widths.resize(std::max(widths.size(), rows[r].size()));
    numeric.resize(widths.size(), true);
    for (std::size_t c = 0; c < rows[r].size(); ++c) {
      widths[c] = std::max(widths[c], width(rows[r][c]));
      if (r > 0 && !starts_numeric(rows[r][c])) numeric[c] = false;
    }
  }
  std::string table;
  for (std::size_t r = 0; r < rows.size(); ++r) {
    std::string line;
    for (std::size_t c = 0; c < rows[r].size(); ++c) {
      const std::string padding(widths[c] - width(rows[r][c]), ' ');
      line += (c > 0 ? "  " : "") + (numeric[c] ? padding + rows[r][c] : rows[r][c] + padding);
    }
    line.erase(line.find_last_not_of(' ') + 1);
    table += line + "\n";
    if (r == 0) {
      for (std::size_t c = 0; c < widths.size(); ++c)
        table += (c > 0 ? "  " : "") + std::string(widths[c], '-');
      table += "\n";
    }
  }
  return table;
}

}  // namespace meshplan::common

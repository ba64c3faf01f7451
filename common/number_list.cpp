#include "common/number_list.h"

#include <algorithm>
#include <charconv>
#include <string_view>

#include "common/error.h"

namespace meshplan::common {
namespace {

constexpr std::int64_t kMostNumbers = 10'000;

[[noreturn]] void refuse(const std::string& text, const std::string& where) {
  throw Error(ErrorCode::kInvalidInput,
              "'" + text + "': must be numbers and ranges, at most 10,000 in all, as in 3,5-7",
              where);
}

/// A whole number of at least 0; false where the text is none.
bool read_number(std::string_view text, std::int64_t& number) {
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  return error == std::errc() && end == text.data() + text.size() && number >= 0;
}

}  // namespace

std::vector<std::int64_t> parse_number_list(const std::string& text, const std::string& where) {
  std::vector<std::int64_t> numbers;
  for (std::string_view rest = text;;) {
    const std::string_view part = rest.substr(0, rest.find(','));
    const std::size_t dash = part.find('-');
    std::int64_t first = 0;
    std::int64_t last = 0;
    if (!read_number(part.substr(0, dash), first)) refuse(text, where);
    last = first;
    if (dash != std::string_view::npos && !read_number(part.substr(dash + 1), last))
      refuse(text, where);
    const auto room = kMostNumbers - static_cast<std::int64_t>(numbers.size());
    if (last < first || last - first >= room) refuse(text, where);
    for (std::int64_t number = first; number <= last; ++number) numbers.push_back(number);
    if (part.size() == rest.size()) break;
    rest.remove_prefix(part.size() + 1);
  }
  std::sort(numbers.begin(), numbers.end());
  numbers.erase(std::unique(numbers.begin(), numbers.end()), numbers.end());
  return numbers;
}

}  // namespace meshplan::common

#include "formats/slurm.h"

#include <fmt/format.h>

#include <charconv>
#include <string_view>

#include "common/error.h"

namespace meshplan::formats {
namespace {

constexpr std::size_t kMostHosts = 65536;
constexpr std::size_t kMostDigits = 18;

[[noreturn]] void refuse(std::string_view text, const char* problem, const std::string& where) {
  throw common::Error(common::ErrorCode::kInvalidInput,
                      fmt::format("'{}': {}", text.substr(0, 200), problem), where);
}

std::int64_t number(std::string_view text, const std::string& where) {
  std::int64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (text.empty() || text.size() > kMostDigits || text.front() == '-' || error != std::errc() ||
      end != text.data() + text.size()) {
    refuse(text, "must be a whole number of at most 18 digits", where);
  }
  return value;
}

/// The parts between separators that stand outside of brackets; empty ones are left out.
std::vector<std::string_view> split(std::string_view text, std::string_view separators,
                                    const std::string& where) {
  std::vector<std::string_view> parts;
  std::size_t start = 0;
  int depth = 0;
  for (std::size_t i = 0; i <= text.size(); ++i) {
    if (i < text.size() && text[i] == '[') ++depth;
    if (i < text.size() && text[i] == ']') --depth;
    if (depth < 0 || depth > 1) refuse(text, "has brackets that do not match", where);
    const bool ends =
        i == text.size() || (depth == 0 && separators.find(text[i]) != std::string_view::npos);
    if (!ends) continue;
    if (i > start) parts.push_back(text.substr(start, i - start));
    start = i + 1;
  }
  if (depth != 0) refuse(text, "has brackets that do not match", where);
  return parts;
}

/// What a bracket's content stands for: "08-10,12" is 08 09 10 12.
std::vector<std::string> expand_range_list(std::string_view list, const std::string& where) {
  std::vector<std::string> numbers;
  for (const std::string_view range : split(list, ",", where)) {
    const std::size_t dash = range.find('-');
    const std::string_view first = range.substr(0, dash);
    const std::string_view last = dash == std::string_view::npos ? first : range.substr(dash + 1);
    const std::int64_t from = number(first, where);
    const std::int64_t to = number(last, where);
    if (to < from) refuse(range, "must go up", where);
    if (static_cast<std::size_t>(to - from) >= kMostHosts - numbers.size())
      refuse(range, "names more than 65536 hosts", where);
    for (std::int64_t i = from; i <= to; ++i)
      numbers.push_back(fmt::format("{:0{}}", i, first.size()));
  }
  if (numbers.empty()) refuse(list, "is an empty bracket", where);
  return numbers;
}

/// One name with brackets, appended to `hosts`: the last bracket counts fastest.
void expand_name(std::string_view name, std::vector<std::string>& hosts, const std::string& where) {
  std::vector<std::string> prefixes = {""};
  while (!name.empty()) {
    const std::size_t open = name.find('[');
    for (std::string& prefix : prefixes) prefix += name.substr(0, open);
    if (open == std::string_view::npos) break;
    const std::size_t close = name.find(']', open);
    const auto numbers = expand_range_list(name.substr(open + 1, close - open - 1), where);
    if (numbers.size() > kMostHosts / prefixes.size())
      refuse(name, "names more than 65536 hosts", where);
    std::vector<std::string> longer;
    for (const std::string& prefix : prefixes) {
      for (const std::string& digits : numbers) longer.push_back(prefix + digits);
    }
    prefixes = std::move(longer);
    name.remove_prefix(close + 1);
  }
  if (prefixes.size() > kMostHosts - hosts.size())
    refuse(name, "names more than 65536 hosts", where);
  hosts.insert(hosts.end(), prefixes.begin(), prefixes.end());
}

}  // namespace

std::vector<std::string> expand_host_list(const std::string& list, const std::string& where) {
  std::vector<std::string> hosts;
  for (const std::string_view name : split(list, ", \t\n", where)) expand_name(name, hosts, where);
  if (hosts.empty()) refuse(list, "names no host", where);
  return hosts;
}

std::vector<std::int64_t> expand_task_counts(const std::string& list, const std::string& where) {
  std::vector<std::int64_t> counts;
  for (std::string_view part : split(list, ",", where)) {
    std::int64_t times = 1;
    if (const std::size_t open = part.find("(x"); open != std::string_view::npos) {
      if (part.back() != ')') refuse(part, "must be like 4(x2)", where);
      times = number(part.substr(open + 2, part.size() - open - 3), where);
      part = part.substr(0, open);
    }
    if (times < 1 || static_cast<std::size_t>(times) > kMostHosts - counts.size())
      refuse(list, "must name 1 to 65536 nodes", where);
    counts.insert(counts.end(), static_cast<std::size_t>(times), number(part, where));
  }
  if (counts.empty()) refuse(list, "names no node", where);
  return counts;
}

}  // namespace meshplan::formats

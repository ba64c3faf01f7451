#include "planner/search/sizes.h"

#include <fmt/format.h>

#include <algorithm>

#include "common/error.h"

namespace meshplan::planner {

bool allowed(const std::vector<std::int64_t>& list, std::int64_t size) {
  return list.empty() || std::find(list.begin(), list.end(), size) != list.end();
}

std::vector<std::int64_t> allowed_divisors(std::int64_t number,
                                           const std::vector<std::int64_t>& list) {
  std::vector<std::int64_t> found;
  for (std::int64_t d = 1; d * d <= number; ++d) {
    if (number % d != 0) continue;
    found.push_back(d);
    if (d != number / d) found.push_back(number / d);
  }
  std::sort(found.begin(), found.end());
  std::erase_if(found, [&](std::int64_t size) { return !allowed(list, size); });
  return found;
}

void check_positive(const char* name, const std::vector<std::int64_t>& sizes) {
  for (const std::int64_t size : sizes) {
    if (size >= 1) continue;
    throw common::Error(common::ErrorCode::kInvalidInput,
                        fmt::format("{}: must be at least 1", size), name);
  }
}

}  // namespace meshplan::planner

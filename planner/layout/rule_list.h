#pragma once

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <string>
#include <utility>
#include <vector>

#include "common/text.h"
#include "planner/layout/rules.h"

namespace meshplan::planner {

/// Rules as they are checked, and those that are broken.
class Rules {
 public:
  /// Reports the rule as broken unless it holds; the message is made only then.
  template <class... Arguments>
  void require(bool holds, const char* code, fmt::format_string<Arguments...> message,
               Arguments&&... arguments) {
    if (!holds) {
      broken_.push_back({code, fmt::format(message, std::forward<Arguments>(arguments)...)});
    }
  }

  /// False, and reported, when the value is not positive.
  bool positive(const char* name, std::int64_t value) {
    require(value >= 1, "size_positive", "{}={}: must be at least 1", name, value);
    return value >= 1;
  }

  void divides(std::int64_t tp, const char* name, std::int64_t size) {
    divides("tp", tp, name, size);
  }

  void divides(const char* divisor, std::int64_t value, const char* name, std::int64_t size) {
    if (size % value == 0) return;
    broken_.push_back({fmt::format("{}_divides_{}", divisor, name),
                       fmt::format("{}={}: must divide {}={}; use {}", divisor, value, name, size,
                                   common::divisors(size))});
  }

  std::vector<Violation> take() { return std::move(broken_); }

 private:
  std::vector<Violation> broken_;
};

}  // namespace meshplan::planner

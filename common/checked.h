#pragma once

#include <cstdint>
#include <string>

#include "common/error.h"

namespace meshplan::common {

/// a * b; throws kInvalidInput naming `what` when it does not fit 63 bits. For sizes that come from
/// files or flags.
inline std::int64_t checked_multiply(std::int64_t a, std::int64_t b, const std::string& what) {
  std::int64_t product = 0;
  if (__builtin_mul_overflow(a, b, &product)) {
    throw Error(
        ErrorCode::kInvalidInput,
        std::to_string(a) + " x " + std::to_string(b) + " does not fit 63 bits; use smaller sizes",
        what);
  }
  return product;
}

/// a + b; throws kInvalidInput naming `what` when it does not fit 63 bits.
inline std::int64_t checked_add(std::int64_t a, std::int64_t b, const std::string& what) {
  std::int64_t sum = 0;
  if (__builtin_add_overflow(a, b, &sum)) {
    throw Error(
        ErrorCode::kInvalidInput,
        std::to_string(a) + " + " + std::to_string(b) + " does not fit 63 bits; use smaller sizes",
        what);
  }
  return sum;
}

/// Smallest integer not below a / b, for a >= 0 and b > 0.
constexpr std::int64_t ceil_divide(std::int64_t a, std::int64_t b) {
  return a / b + (a % b != 0 ? 1 : 0);
}

/// Smallest multiple of `multiple` not below `a`, for a >= 0 and multiple > 0.
constexpr std::int64_t round_up(std::int64_t a, std::int64_t multiple) {
  return ceil_divide(a, multiple) * multiple;
}

}  // namespace meshplan::common

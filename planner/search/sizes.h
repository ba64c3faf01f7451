#pragma once

#include <cstdint>
#include <vector>

namespace meshplan::planner {

/// Whether a size may be tried: an empty list allows all.
bool allowed(const std::vector<std::int64_t>& list, std::int64_t size);

/// The divisors of a positive number that are allowed, ascending.
std::vector<std::int64_t> allowed_divisors(std::int64_t number,
                                           const std::vector<std::int64_t>& list);

/// Throws kInvalidInput, naming `name`, for a size below 1.
void check_positive(const char* name, const std::vector<std::int64_t>& sizes);

}  // namespace meshplan::planner

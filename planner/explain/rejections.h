#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "planner/search/search.h"

namespace meshplan::planner {

/// Layouts that are rejected for one reason, or for reasons that differ in their numbers alone.
struct RejectionGroup {
  std::int64_t count = 0;
  /// One of them; of those that do not fit, the one that needs least.
  const Rejection* example = nullptr;
};

/// All of them, in groups in the order in which their reasons first come up; those that do not fit
/// are one group. Points into `rejected`.
std::vector<RejectionGroup> group_rejections(const std::vector<Rejection>& rejected);

/// The layout that comes nearest to the device's memory, of those that lack nothing else; null
/// where there is none.
const Rejection* least_need(const std::vector<Rejection>& rejected);

/// The groups in words, a line each, indented: at most `most` of them, and how many more there are.
std::string rejection_text(const std::vector<Rejection>& rejected, std::size_t most);

}  // namespace meshplan::planner

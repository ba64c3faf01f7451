#include "planner/explain/rejections.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>

#include "planner/explain/layout_text.h"

namespace meshplan::planner {
namespace {

constexpr const char* kDoesNotFit = "does not fit";

/// The reason without its numbers: what a group of rejections has in common.
std::string kind_of(const Rejection& rejection) {
  if (rejection.needed.value > 0) return kDoesNotFit;
  std::string kind;
  for (char c : rejection.reason) {
    const bool number = (c >= '0' && c <= '9') || c == '.';
    if (!number) kind += c;
  }
  return kind;
}

std::string on_one_line(const std::string& text) {
  std::string line;
  for (char c : text) {
    if (c == '\n')
      line += "; ";
    else
      line += c;
  }
  return line;
}

std::string group_text(const RejectionGroup& group) {
  const std::string example =
      fmt::format("{}: {}", layout_text(group.example->layout), on_one_line(group.example->reason));
  if (group.count == 1) return "  " + example + "\n";
  const bool fits_not = group.example->needed.value > 0;
  return fmt::format(
      "  {} {} {}\n", group.count,
      fits_not ? "do not fit; the one that needs least is" : "for one reason; one of them is",
      example);
}

}  // namespace

std::vector<RejectionGroup> group_rejections(const std::vector<Rejection>& rejected) {
  std::vector<RejectionGroup> groups;
  std::map<std::string, std::size_t> places;
  for (const Rejection& rejection : rejected) {
    const auto [place, added] = places.try_emplace(kind_of(rejection), groups.size());
    if (added) groups.push_back({0, &rejection});
    RejectionGroup& group = groups[place->second];
    group.count += rejection.count;
    if (rejection.needed < group.example->needed) group.example = &rejection;
  }
  return groups;
}

const Rejection* least_need(const std::vector<Rejection>& rejected) {
  const Rejection* least = nullptr;
  for (const Rejection& rejection : rejected) {
    if (rejection.needed.value <= 0) continue;
    if (least == nullptr || rejection.needed < least->needed) least = &rejection;
  }
  return least;
}

std::string rejection_text(const std::vector<Rejection>& rejected, std::size_t most) {
  const std::vector<RejectionGroup> groups = group_rejections(rejected);
  std::string text;
  for (std::size_t g = 0; g < std::min(groups.size(), most); ++g) text += group_text(groups[g]);
  if (groups.size() > most) {
    const auto more = static_cast<std::int64_t>(groups.size() - most);
    text += fmt::format("  and {}; --json has all\n", counted(more, "more reason"));
  }
  return text;
}

}  // namespace meshplan::planner

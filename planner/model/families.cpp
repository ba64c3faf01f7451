#include <algorithm>
#include <vector>

#include "planner/model/family.h"

namespace meshplan::planner {
namespace {

std::vector<Family> all_rows() {
  std::vector<Family> rows;
  for (const std::span<const Family> some : {llama_families(), gpt_families(), own_code_families()})
    rows.insert(rows.end(), some.begin(), some.end());
  std::ranges::sort(rows, {}, &Family::family);
  return rows;
}

}  // namespace

std::span<const Family> families() {
  static const std::vector<Family> rows = all_rows();
  return rows;
}

const Family& family_of(ModelFamily family) { return families()[static_cast<std::size_t>(family)]; }

const Family* find_family(std::string_view model_type) {
  const auto found = std::ranges::find(families(), model_type, &Family::name);
  return found == families().end() ? nullptr : &*found;
}

std::string family_names() {
  std::vector<std::string_view> names;
  for (const Family& row : families()) {
    if (row.family != ModelFamily::kOther) names.emplace_back(row.name);
  }
  std::ranges::sort(names);
  std::string text;
  for (const std::string_view name : names) text += (text.empty() ? "" : ", ") + std::string(name);
  return text;
}

}  // namespace meshplan::planner

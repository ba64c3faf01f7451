#include "planner/catalog/catalog.h"

#include <algorithm>

#include "planner/catalog/catalog_entries.h"

namespace meshplan::planner {

std::vector<std::string> catalog_names(std::string_view kind) {
  std::vector<std::string> names;
  for (const CatalogEntry& entry : catalog_entries()) {
    if (entry.kind == kind) names.emplace_back(entry.name);
  }
  return names;
}

std::optional<std::string_view> catalog_text(std::string_view kind, std::string_view name) {
  for (const CatalogEntry& entry : catalog_entries()) {
    if (entry.kind == kind && entry.name == name) return entry.text;
  }
  return std::nullopt;
}

std::optional<std::string> similar_catalog_name(std::string_view kind, std::string_view name) {
  std::string lower(name);
  std::ranges::transform(lower, lower.begin(), [](char c) {
    return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
  });
  std::vector<std::string> longer;
  for (const std::string& entry : catalog_names(kind)) {
    if (entry == lower) return entry;
    if (entry.starts_with(lower + "-")) longer.push_back(entry);
  }
  if (longer.size() != 1) return std::nullopt;
  return longer.front();
}

}  // namespace meshplan::planner

#include "planner/catalog/catalog.h"

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

}  // namespace meshplan::planner

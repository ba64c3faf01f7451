#pragma once

#include <span>
#include <string_view>

namespace meshplan::planner {

/// One file of the catalog, as the build compiles it in.
struct CatalogEntry {
  std::string_view kind;
  std::string_view name;
  std::string_view text;
};

/// All entries, by kind, then in ascending order of name. Defined in the build tree
/// (cmake/embed_catalog.cmake).
std::span<const CatalogEntry> catalog_entries();

}  // namespace meshplan::planner

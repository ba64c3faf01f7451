#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace meshplan::planner {

/// The catalog's files are compiled into the program, so that it needs no installed data. `kind` is
/// "models", "clusters", "gpus" or "networks"; names are file names without ".json", in ascending
/// order.
std::vector<std::string> catalog_names(std::string_view kind);

/// The JSON text of that entry, or nothing when the catalog has none of that name.
std::optional<std::string_view> catalog_text(std::string_view kind, std::string_view name);

/// The entry that is meant by `name` where there is none of that name: the same in other case, or
/// the only one of whose name it is the first words ("Mistral-7B" for "mistral-7b-v0.1").
std::optional<std::string> similar_catalog_name(std::string_view kind, std::string_view name);

}  // namespace meshplan::planner

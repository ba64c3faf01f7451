#pragma once

#include <filesystem>
#include <string>

#include "planner/cost/estimate.h"

namespace meshplan::planner {

/// What is handed from the planner to whoever runs it: everything needed, in one JSON file.
struct Plan {
  ModelSpec model;
  /// Where the model came from: a catalog name, or the path of its folder, which may hold the
  /// weights.
  std::string model_source;
  ClusterSpec cluster;
  Job job;
  Layout layout;
  Estimate estimate;
};

common::Json to_json(const Job& job);
common::Json to_json(const Layout& layout);
/// The inverse, for other files that keep a layout. Throws kInvalidInput with everything that is
/// wrong; whether it keeps the rules is not looked at.
Layout read_layout(const common::JsonObject& json);

/// Written and read back identically: read_plan(to_json(plan)) has the same JSON.
common::Json to_json(const Plan& plan);

/// Throws kInvalidInput for another schema_version; with everything that is wrong, for unknown,
/// missing or bad fields; and for a layout that breaks a rule (all of them named).
Plan read_plan(const common::Json& json, const std::string& where);
Plan load_plan(const std::filesystem::path& path);
void save_plan(const Plan& plan, const std::filesystem::path& path);

}  // namespace meshplan::planner

// Reads configs, one a line, and prints for each the names and shapes of all parameters of its
// model, and their count, as JSON: for comparison with another program's.

#include <fmt/format.h>

#include <iostream>
#include <string>

#include "common/error.h"
#include "common/json.h"
#include "planner/model/model_spec.h"
#include "planner/model/parameter_table.h"

namespace {

using meshplan::common::Json;
namespace planner = meshplan::planner;

Json parameters(const planner::ModelSpec& model) {
  Json table = Json::object();
  for (std::int64_t unit = 0; unit < unit_count(model); ++unit) {
    for (const planner::Parameter& parameter : parameters_of(model, unit_at(model, unit)))
      table[parameter.name] = parameter.shape;
  }
  return table;
}

Json answer(const std::string& line) {
  try {
    const Json config = meshplan::common::parse_json(line, "config.json");
    const planner::ModelSpec model = planner::read_model_config(config, "config.json");
    const bool again = planner::read_model_config(to_json(model), "config.json") == model;
    return {{"parameters", parameters(model)},
            {"count", parameter_count(model)},
            {"active", active_parameter_count(model)},
            {"reads_back", again}};
  } catch (const meshplan::common::Error& error) {
    return {{"error", error.what()}};
  }
}

}  // namespace

int main() {
  std::string line;
  while (std::getline(std::cin, line)) fmt::print("{}\n", answer(line).dump());
  return 0;
}

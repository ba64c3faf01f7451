#include "planner/explain/sweep.h"
#include "planner/plan/plan.h"

namespace meshplan::planner {
namespace {

using common::Json;

Json number(VariedInput input, double value) {
  return is_factor(input) ? Json(value) : Json(static_cast<std::int64_t>(value));
}

Json point_json(const std::vector<Variation>& variations, const SweepPoint& point) {
  Json values;
  for (std::size_t v = 0; v < variations.size(); ++v)
    values[to_string(variations[v].input)] = number(variations[v].input, point.values[v]);
  const bool found = point.best.has_value();
  return {{"values", values},
          {"fit", point.fit},
          {"rejected", point.rejected},
          {"layout", found ? to_json(point.best->layout) : Json()},
          {"estimate", found ? to_json(point.best->estimate) : Json()},
          {"reason", found ? Json() : Json(point.nothing)},
          {"least_need_bytes", point.least_need.value > 0 ? Json(point.least_need.value) : Json()}};
}

}  // namespace

Json to_json(const Sweep& sweep) {
  Json vary;
  for (const Variation& variation : sweep.variations) {
    Json& values = vary[to_string(variation.input)] = Json::array();
    for (double value : variation.values) values.push_back(number(variation.input, value));
  }
  Json points = Json::array();
  for (const SweepPoint& point : sweep.points)
    points.push_back(point_json(sweep.variations, point));
  return {{"vary", vary}, {"points", points}};
}

}  // namespace meshplan::planner

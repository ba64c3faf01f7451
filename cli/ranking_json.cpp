#include <algorithm>

#include "cli/ranking.h"
#include "planner/explain/explanation.h"
#include "planner/explain/pareto.h"
#include "planner/model/parameter_table.h"
#include "planner/plan/plan.h"

namespace meshplan::cli {
namespace {

using common::Json;
using planner::Candidate;

Json candidate_json(const Ranking& ranking, std::size_t place) {
  const Candidate& candidate = ranking.found.ranked[place];
  return {{"rank", place + 1},
          {"layout", to_json(candidate.layout)},
          {"estimate", to_json(candidate.estimate)}};
}

}  // namespace

Json ranking_json(const Ranking& ranking, const Shown& shown, const std::string& plan_file) {
  Json ranked = Json::array();
  for (std::size_t place = 0; place < std::min(shown.top, ranking.found.ranked.size()); ++place)
    ranked.push_back(candidate_json(ranking, place));
  Json rejected = Json::array();
  for (const planner::Rejection& rejection : ranking.found.rejected) {
    rejected.push_back({{"layout", to_json(rejection.layout)}, {"reason", rejection.reason}});
    if (ranking.considered > 0) rejected.back()["count"] = rejection.count;
  }
  Json json = {
      {"schema_version", 1},
      {"model", ranking.model.spec.name},
      {"model_source", ranking.model.source},
      {"parameters", planner::parameter_count(ranking.model.spec)},
      {"cluster", ranking.cluster.name},
      {"nodes", ranking.cluster.nodes},
      {"devices_per_node", ranking.cluster.devices_per_node},
      {"job", to_json(ranking.job)},
      {"objective", to_string(ranking.request.objective)},
      {"fit", ranking.considered > 0 ? ranking.fitting
                                     : static_cast<std::int64_t>(ranking.found.ranked.size())},
      {"ranked", ranked},
      {"rejected", rejected},
      {"plan", plan_file.empty() ? Json(nullptr) : Json(plan_file)}};
  if (ranking.considered > 0) {
    json["considered"] = ranking.considered;
    json["slower"] = ranking.slower;
  }
  if (shown.pareto) {
    json["pareto"] = Json::array();
    for (std::size_t place : planner::pareto_frontier(ranking.found.ranked))
      json["pareto"].push_back(candidate_json(ranking, place));
  }
  if (shown.explain)
    json["explanation"] =
        ranking.found.ranked.empty() ? Json(nullptr) : to_json(explanation_of(ranking));
  return json;
}

}  // namespace meshplan::cli

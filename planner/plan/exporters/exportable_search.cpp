#include "planner/plan/exporters/exportable_search.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>

#include "common/error.h"

namespace meshplan::planner {
namespace {

/// The values that the target can express, or the one that is chosen already.
template <class Value>
std::vector<Value> tried(const ExportTarget& target, bool made, Value chosen,
                         const std::vector<std::pair<Choice, Value>>& values) {
  std::vector<Value> tried;
  for (const auto& [choice, value] : values) {
    if (!made && expresses(target, choice)) tried.push_back(value);
  }
  if (tried.empty()) tried.push_back(chosen);
  return tried;
}

/// Whether the layout differs from one of the base's choices in name alone: there is nothing to
/// shard over, or nothing to accumulate.
bool repeats(const Layout& layout, const Layout& base) {
  return (layout.sharding != base.sharding && sharding_ranks(layout.mesh) == 1) ||
         (layout.gradient_accumulation != base.gradient_accumulation && layout.accumulation == 1);
}

/// One request for each combination of what is tried; all begin with the first one's values.
std::vector<SearchRequest> requests_of(const ExportTarget& target, const SearchRequest& request,
                                       const ChoicesMade& made) {
  const Layout& base = request.base;
  const bool accumulates = request.global_batch_size || base.accumulation > 1;
  std::vector<ActivationCheckpointing> checkpointing = {base.activation_checkpointing};
  if (!made.activation_checkpointing && expresses(target, Choice::kFullCheckpointing))
    checkpointing = {ActivationCheckpointing::kNone, ActivationCheckpointing::kFull};

  std::vector<SearchRequest> requests;
  for (Sharding sharding :
       tried<Sharding>(target, made.sharding, base.sharding,
                       {{Choice::kFullShard, Sharding::kFullShard},
                        {Choice::kShardGradOp, Sharding::kShardGradOp},
                        {Choice::kShardOptimizer, Sharding::kShardOptimizer}})) {
    for (GradientAccumulation accumulation : tried<GradientAccumulation>(
             target, made.gradient_accumulation || !accumulates, base.gradient_accumulation,
             {{Choice::kShardedAccumulation, GradientAccumulation::kSharded},
              {Choice::kUnshardedAccumulation, GradientAccumulation::kUnsharded}})) {
      for (ActivationCheckpointing kind : checkpointing) {
        requests.push_back(request);
        requests.back().base.sharding = sharding;
        requests.back().base.gradient_accumulation = accumulation;
        requests.back().base.activation_checkpointing = kind;
      }
    }
  }
  return requests;
}

}  // namespace

SearchResult search_exportable(const ExportTarget& target, const ModelSpec& model,
                               const ClusterSpec& cluster, const Job& job,
                               const SearchRequest& request, const ChoicesMade& made) {
  Plan plan{.model = model,
            .model_source = {},
            .cluster = cluster,
            .job = job,
            .layout = {},
            .estimate = {}};
  SearchResult found;
  std::vector<Candidate> refused;
  const std::vector<SearchRequest> requests = requests_of(target, request, made);
  for (const SearchRequest& tried : requests) {
    SearchResult part = search(model, cluster, job, tried);
    for (Candidate& candidate : part.ranked) {
      if (repeats(candidate.layout, requests.front().base)) continue;
      plan.layout = candidate.layout;
      auto& kind = refusals(plan, target).empty() ? found.ranked : refused;
      kind.push_back(std::move(candidate));
    }
    std::move(part.rejected.begin(), part.rejected.end(), std::back_inserter(found.rejected));
  }
  const auto better = [&](const Candidate& a, const Candidate& b) {
    return score(a.estimate, cluster, request.objective) <
           score(b.estimate, cluster, request.objective);
  };
  std::stable_sort(found.ranked.begin(), found.ranked.end(), better);
  std::stable_sort(refused.begin(), refused.end(), better);
  for (const Candidate& candidate : refused) {
    plan.layout = candidate.layout;
    const std::string reason =
        fmt::format("{} cannot express {}", target.name, fmt::join(refusals(plan, target), "; "));
    if (found.ranked.empty())
      throw common::Error(common::ErrorCode::kInvalidInput, reason,
                          fmt::format("--for {}", target.name));
    found.rejected.push_back({candidate.layout, reason, {}, 1});
  }
  return found;
}

}  // namespace meshplan::planner

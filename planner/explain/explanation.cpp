#include "planner/explain/explanation.h"

#include <algorithm>

namespace meshplan::planner {
namespace {

Loser loser_of(const ModelSpec& model, const ClusterSpec& cluster, const Job& job,
               const Explanation& explanation, const Candidate& candidate, std::size_t rank) {
  Loser loser;
  loser.rank = rank;
  loser.candidate = candidate;
  loser.shares = shares_of(model, cluster, job, candidate);
  const Estimate& best = explanation.chosen.estimate;
  const Estimate& other = candidate.estimate;
  loser.worse =
      score(other, cluster, explanation.objective) / score(best, cluster, explanation.objective) -
      1;
  loser.slower = best.tokens_per_second_per_gpu / other.tokens_per_second_per_gpu - 1;
  // Times per token, in those of the chosen layout.
  const double tokens = other.tokens_per_second_per_gpu * other.step_time.value;
  const double best_tokens = best.tokens_per_second_per_gpu * best.step_time.value;
  for (std::size_t p = 0; p < kStepParts; ++p) {
    loser.slower_by[p] =
        (loser.shares[p].value / tokens - explanation.shares[p].value / best_tokens) *
        best.tokens_per_second_per_gpu;
  }
  return loser;
}

}  // namespace

Explanation explain(const ModelSpec& model, const ClusterSpec& cluster, const Job& job,
                    const SearchResult& found, Objective objective) {
  const std::vector<Candidate>& ranked = found.ranked;
  Explanation explanation;
  explanation.chosen = ranked.front();
  explanation.objective = objective;
  explanation.shares = shares_of(model, cluster, job, ranked.front());
  const auto add_loser = [&](std::size_t place) {
    explanation.losers.push_back(
        loser_of(model, cluster, job, explanation, ranked[place], place + 1));
  };
  if (ranked.size() > 1) add_loser(1);
  const auto other_mesh = std::find_if(ranked.begin(), ranked.end(), [&](const Candidate& other) {
    return other.layout.mesh != ranked.front().layout.mesh;
  });
  if (other_mesh != ranked.end() && other_mesh != ranked.begin() + 1)
    add_loser(static_cast<std::size_t>(other_mesh - ranked.begin()));
  const auto both = std::find_if(ranked.begin(), ranked.end(), [](const Candidate& candidate) {
    const AxisSizes& sizes = candidate.layout.mesh.sizes;
    return sizes[Axis::kTp] > 1 && sizes[Axis::kDpShard] > 1;
  });
  explanation.volumes =
      volumes_of(model, cluster, job, both == ranked.end() ? ranked.front() : *both);
  explanation.crossing = cross_nodes(model, cluster, job, ranked.front());
  return explanation;
}

}  // namespace meshplan::planner

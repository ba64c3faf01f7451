#pragma once

#include <string>
#include <vector>

#include "planner/explain/crossing_nodes.h"
#include "planner/explain/step_shares.h"
#include "planner/explain/volumes.h"

namespace meshplan::planner {

/// A layout that lost against the chosen one, and by what.
struct Loser {
  /// Its place in the ranking; the chosen one has 1.
  std::size_t rank = 0;
  Candidate candidate;
  StepShares shares{};
  /// Its score against the chosen one's, less 1.
  double worse = 0;
  /// Its time per token against the chosen one's, less 1; and what each part of the step adds to
  /// that, indexed by StepPart.
  double slower = 0;
  std::array<double, kStepParts> slower_by{};
};

/// Why the best layout of a search is the best.
struct Explanation {
  Candidate chosen;
  Objective objective = Objective::kThroughput;
  StepShares shares{};
  /// The next in the ranking, and the next on another mesh, if that is another one.
  std::vector<Loser> losers;
  /// Of the best layout that has both tp and shards, where there is one; else of the chosen one.
  Volumes volumes;
  CrossingNodes crossing;
};

/// Explains the first of the ranked layouts. Requires one.
Explanation explain(const ModelSpec& model, const ClusterSpec& cluster, const Job& job,
                    const SearchResult& found, Objective objective);

/// In words, a paragraph each; ends with a newline.
std::string explanation_text(const Explanation& explanation);

/// {"bound_by", "shares", "runners_up", "volumes", "tp_across_nodes", "text"}.
common::Json to_json(const Explanation& explanation);

}  // namespace meshplan::planner

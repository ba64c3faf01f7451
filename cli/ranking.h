#pragma once

#include <string>

#include "cli/options.h"
#include "planner/explain/explanation.h"
#include "planner/search/search.h"

namespace meshplan::cli {

/// What was asked and what was found.
struct Ranking {
  planner::LoadedModel model;
  planner::ClusterSpec cluster;
  planner::Job job;
  planner::SearchRequest request;
  planner::SearchResult found;
  /// Of every choice: the layouts looked at, and those that a bound showed to be slower than the
  /// best.
  std::int64_t considered = 0;
  std::int64_t slower = 0;
  std::int64_t fitting = 0;
  /// Whether layouts differ in more than mesh and microbatch.
  bool tries_choices = false;
};

planner::Explanation explanation_of(const Ranking& ranking);
std::int64_t rejected_count(const Ranking& ranking);

/// How much of a ranking is shown.
struct Shown {
  std::size_t top = 10;
  bool explain = false;
  bool pareto = false;
};

void print_ranking(const Ranking& ranking, const Shown& shown);
/// `plan_file` is where the best one was written; "" = nowhere.
common::Json ranking_json(const Ranking& ranking, const Shown& shown, const std::string& plan_file);
/// Why there is no layout, of a ranking without one.
std::string no_layout_message(const Ranking& ranking);

}  // namespace meshplan::cli

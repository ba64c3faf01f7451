#pragma once

#include <CLI/CLI.hpp>
#include <string>

#include "cli/options.h"
#include "planner/search/space.h"

namespace meshplan::cli {

/// What a search is over: model, cluster, job, and the layouts to try.
struct SearchFlags {
  std::string model;
  ClusterFlags cluster;
  JobFlags job;
  LayoutFlags layout;
  std::string microbatch_size = "auto";
  planner::SearchRequest request;
};
/// --model, --cluster and what belongs to them, the job's, the layout's, and --tp, --dp-shard,
/// --dp-replicate, --pp, --cp, --microbatch-size, --global-batch-size, --objective. The option of
/// --seq-length.
CLI::Option* add_search_flags(CLI::App& app, SearchFlags& flags);

/// What the flags ask for; sizes may still be kAutomaticSize. Throws kUsage for a microbatch that
/// is neither a number nor auto.
planner::SearchRequest make_request(const SearchFlags& flags);

/// Every choice that the request's flags, once parsed by `app`, leave open.
planner::SearchSpace every_choice_of(const CLI::App& app, const planner::SearchRequest& request);

/// Turns "auto" into kAutomaticSize.
CLI::Validator automatic_size();

}  // namespace meshplan::cli

#pragma once

#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "planner/explain/variation.h"
#include "planner/search/search.h"

namespace meshplan::planner {

/// A search, as it is before anything is varied.
struct SweepInputs {
  ModelSpec model;
  /// A catalog name or a file, and what is changed of it.
  std::string cluster;
  ClusterChanges changes;
  Job job;
  /// Its tp and dp_shard may hold kAutomaticSize.
  SearchRequest request;
};

/// One combination of the varied inputs, and its best layout.
struct SweepPoint {
  /// By variation.
  std::vector<double> values;
  std::optional<Candidate> best;
  std::size_t fit = 0;
  std::size_t rejected = 0;
  /// Why there is none: the layout that needs least, or what all lack; empty where there is one.
  std::string nothing;
  /// What the device would need for that; 0 where memory is not the reason.
  common::Bytes least_need;
};

struct Sweep {
  std::vector<Variation> variations;
  /// The last variation moves fastest.
  std::vector<SweepPoint> points;
};

/// Is told how many of the points are done before each; false ends the sweep there.
using SweepProgress = std::function<bool(std::size_t done, std::size_t all)>;

/// Searches at each point. Throws kInvalidInput for no variation, the same input twice or more than
/// kMaxPoints points; kInterrupted where `progress` ends it.
Sweep sweep(const SweepInputs& inputs, const std::vector<Variation>& variations,
            const SweepProgress& progress);

/// {"vary", "points": [{"values", "fit", "rejected", "layout", "estimate", "reason",
/// "least_need_bytes"}]}; layout and estimate are null where nothing fits, reason where something
/// does.
common::Json to_json(const Sweep& sweep);

}  // namespace meshplan::planner

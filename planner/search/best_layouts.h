#pragma once

#include <cstdint>
#include <functional>
#include <vector>

#include "planner/cost/estimate.h"
#include "planner/search/space.h"

namespace meshplan::planner {

struct BestLayouts {
  /// The best that fit, by time per token; ties by their place in the space.
  std::vector<Candidate> best;
  /// Layouts, each with every way of checkpointing.
  std::int64_t considered = 0;
  /// Priced, and fit.
  std::int64_t fitting = 0;
  /// Not priced, as a bound of their time shows that they are not among the best, whether they fit
  /// or not.
  std::int64_t slower = 0;
  /// Break rules or do not fit: one of each branch that it is so of.
  std::vector<Rejection> rejected;
};

/// Whether layouts are left out that cannot be among the best, by a bound of their time.
enum class Pruning { kOff, kOn };

struct BestLayoutsOptions {
  Pruning pruning = Pruning::kOn;
  /// Called now and then with the part that is done, from 0 to 1.
  std::function<void(double)> progress = {};
};

/// The `count` fastest layouts of a space. Each of its layouts takes the fewest checkpointed blocks
/// that fit, 0 under `none`, and then as many blocks kept gathered as fit; where it fits without
/// checkpointing it is not tried with. Both ways of pruning give the same best. Throws
/// kInvalidInput for sizes that are not positive.
BestLayouts best_layouts(const ModelSpec& model, const ClusterSpec& cluster, const Job& job,
                         const SearchSpace& space, std::size_t count,
                         const BestLayoutsOptions& options = {});

}  // namespace meshplan::planner

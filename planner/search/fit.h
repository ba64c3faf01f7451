#pragma once

#include <optional>

#include "planner/cost/estimate_tables.h"

namespace meshplan::planner {

/// Fits layouts into the memory of a cluster's devices.
class MemoryFit {
 public:
  MemoryFit(const ModelSpec& model, const ClusterSpec& cluster, EstimateTables& tables)
      : model_(&model), cluster_(&cluster), tables_(&tables) {}

  bool fits(const Layout& layout) const;

  /// The layout with the fewest blocks that it checkpoints and fits with, and then with as many
  /// kept gathered as fit; nothing where it does not fit with all of them checkpointed.
  std::optional<Layout> fill(const Layout& layout) const;

 private:
  void checkpoint_fewest(Layout& layout) const;
  void keep_most(Layout& layout) const;

  const ModelSpec* model_;
  const ClusterSpec* cluster_;
  EstimateTables* tables_;
};

}  // namespace meshplan::planner

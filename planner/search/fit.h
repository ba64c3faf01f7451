#pragma once

#include <cstdint>
#include <functional>
#include <optional>

#include "planner/cost/estimate_tables.h"

namespace meshplan::planner {

/// Fits layouts into the memory of a cluster's devices.
class MemoryFit {
 public:
  MemoryFit(const ModelSpec& model, const ClusterSpec& cluster, EstimateTables& tables)
      : model_(&model), cluster_(&cluster), tables_(&tables) {}

  /// The layout with the fewest blocks that it checkpoints and fits with, and then with as many
  /// kept gathered as fit; nothing where it does not fit with all of them checkpointed.
  std::optional<Layout> fill(const Layout& layout);

  /// The same for the stage that was the fullest so far alone, in a fraction of the time: fill()
  /// checkpoints no fewer and keeps no more.
  std::optional<Layout> fill_fullest(const Layout& layout);

  /// What a device of that stage needs at its peak.
  common::Bytes need_of_fullest(const Layout& layout);

 private:
  Stage fullest_of(const Layout& layout) const;
  /// One that does not fit is the fullest from then on.
  bool fits(const Layout& layout, const Stage& stage);
  bool fullest_fits(const Layout& layout);
  enum class Stages { kFullest, kAll };
  std::optional<Layout> fill(const Layout& layout, Stages stages);
  bool fits(const Layout& layout, Stages stages);
  /// Sets the least number in [from, to] with which the layout fits, which it does with `to`, and
  /// with all after one that it fits with.
  void set_least_that_fits(Layout& layout, Stages stages, std::int64_t from, std::int64_t to,
                           const std::function<void(Layout&, std::int64_t)>& set);
  /// The same number for the fullest stage.
  std::int64_t least_of_fullest(Layout& layout, std::int64_t from, std::int64_t to,
                                const std::function<void(Layout&, std::int64_t)>& set);
  void checkpoint_fewest(Layout& layout, Stages stages);
  void keep_most(Layout& layout, Stages stages);

  const ModelSpec* model_;
  const ClusterSpec* cluster_;
  EstimateTables* tables_;
  /// The index of the last stage that did not fit.
  std::int64_t fullest_ = 0;
};

}  // namespace meshplan::planner

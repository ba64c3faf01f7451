#pragma once

#include <array>
#include <cstdint>
#include <map>

#include "planner/cluster/cluster_spec.h"
#include "planner/layout/layout.h"
#include "planner/model/model_spec.h"

namespace meshplan::planner {

/// What layouts cannot undercut, worked out in a fraction of the time that pricing them takes. Of
/// models with experts and the feed-forward demo, interleaved stages and an optimizer on the host
/// it is nothing.
class LayoutBounds {
 public:
  LayoutBounds(const ModelSpec& model, const ClusterSpec& cluster, const Job& job);

  /// Least step time of every layout with this mesh's pp, cp and tp, microbatches and sequence
  /// parallelism: kernels and the collectives that they wait for themselves, with no block computed
  /// twice. The last stage begins when those before it have run the first microbatch forward, and
  /// ends before they run the last one backward. Requires a layout without violations.
  common::Seconds compute_time(const Layout& layout);

  /// Least step time of a layout, whatever it recomputes and keeps gathered: the same, and that a
  /// pass takes no less than the collectives of its blocks one after the other, but for two that
  /// may be ahead of it or behind; then the update.
  common::Seconds time(const Layout& layout);

  /// Least peak of allocated memory: what is held all through, with the gradients that the update
  /// reads, or with the inputs of the blocks of all microbatches under way.
  common::Bytes memory(const Layout& layout);

 private:
  /// A microbatch's passes through a unit, in seconds.
  struct Pass {
    double forward = 0;
    double backward = 0;
  };
  struct Passes {
    Pass embedding;
    Pass block;
    Pass head;
  };
  /// What a block's collectives take: its gather, its reduction in each microbatch, and in the
  /// last; and a message between stages.
  struct BlockCollectives {
    double gather = 0;
    double reduce = 0;
    double last_reduce = 0;
    double send = 0;
    /// Kernels that add up a microbatch's gradient, after the first.
    double accumulate = 0;
  };
  /// Elements of whole units on a rank, unpadded.
  struct Elements {
    std::int64_t embedding = 0;
    std::int64_t block = 0;
    std::int64_t head = 0;
  };

  bool applies(const Layout& layout) const;
  const Passes& passes_of(const Layout& layout);
  const Elements& elements_of(const Layout& layout);
  /// Of the residual stream on a rank.
  std::int64_t input_elements(const Layout& layout) const;
  BlockCollectives collectives_of(const Layout& layout);
  double least_time(const Layout& layout, const BlockCollectives& collectives);
  double collective(const Layout& layout, CollectiveKind kind, Axis axis, std::int64_t bytes) const;

  ModelSpec model_;
  ClusterSpec cluster_;
  Job job_;
  bool bounds_model_;
  /// By tp, cp, microbatch, sequence parallelism and whether there are stages.
  std::map<std::array<std::int64_t, 5>, Passes> passes_;
  /// By tp and whether there are stages.
  std::map<std::array<std::int64_t, 2>, Elements> elements_;
};

}  // namespace meshplan::planner

#pragma once

#include <array>
#include <cstdint>
#include <map>

#include "planner/cluster/cluster_spec.h"
#include "planner/cost/price.h"
#include "planner/layout/layout.h"
#include "planner/layout/stage.h"
#include "planner/model/model_spec.h"
#include "planner/search/interleaved_bound.h"

namespace meshplan::planner {

/// What layouts cannot undercut, worked out in a fraction of the time that pricing them takes. It
/// is nothing for the feed-forward demo; what blocks that differ recompute counts nothing, either.
class LayoutBounds {
 public:
  LayoutBounds(const ModelSpec& model, const ClusterSpec& cluster, const Job& job);

  /// Least step time of every layout with this mesh's pp, cp and tp, microbatches and sequence
  /// parallelism: kernels and the collectives that they wait for themselves, with no block computed
  /// twice. The last stage begins when those before it have run the first microbatch forward, and
  /// ends before they run the last one backward. Requires a layout without violations.
  common::Seconds compute_time(const Layout& layout);

  /// Least step time of a layout, whatever it keeps gathered: the same, and that blocks whose saved
  /// activations have no room are computed twice, and a pass takes no less than the collectives of
  /// its blocks one after the other, but for two that may be ahead of it or behind; then the
  /// update.
  common::Seconds time(const Layout& layout);

  /// The same of a layout whose checkpointed blocks have been chosen.
  common::Seconds time_as_chosen(const Layout& layout);

  /// The same, closer and in more steps, for interleaved stages that are soon played.
  common::Seconds time_as_played(const Layout& layout);

  /// The fewest of the model's first blocks that have to be checkpointed in the layout's way for
  /// the others' activations to have room; 0 where that is not known.
  std::int64_t least_checkpointed(const Layout& layout);

  /// Least peak of allocated memory: what is held all through, with the gradients that the update
  /// reads; or with the inputs of the blocks of all microbatches under way, the copies that are
  /// gathered by then, and the gradients of microbatches before.
  common::Bytes memory(const Layout& layout);

  /// The same where all blocks are checkpointed as the layout says.
  common::Bytes memory_as_checkpointed(const Layout& layout);

 private:
  struct Passes {
    UnitPass embedding;
    UnitPass block;
    UnitPass head;
  };
  /// What a block saves, in bytes, and what it may be checkpointed to: so much, for so many seconds
  /// more of each backward pass.
  struct Saving {
    struct Way {
      double saved = 0;
      double recompute = 0;
    };
    double saved = 0;
    std::array<Way, 2> ways;
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
  /// Elements of whole units on a rank, unpadded; of a block's, those of experts that are shared
  /// out.
  struct Elements {
    std::int64_t embedding = 0;
    std::int64_t block = 0;
    std::int64_t block_experts = 0;
    std::int64_t head = 0;
  };

  const Passes& passes_of(const Layout& layout);
  const Elements& elements_of(const Layout& layout);
  /// Of the residual stream on a rank.
  std::int64_t input_elements(const Layout& layout) const;
  BlockCollectives collectives_of(const Layout& layout);
  /// Blocks that are computed twice: none, those that have to be, or those that were chosen.
  enum class Recomputed { kNone, kLeast, kChosen };
  common::Seconds time(const Layout& layout, Recomputed recomputed);
  common::Seconds update_time(const Layout& layout);
  double least_time(const Layout& layout, const BlockCollectives& collectives,
                    Recomputed recomputed);
  /// Its passes alone; and with its collectives and what is computed twice.
  InterleavedStep interleaved_passes(const Layout& layout);
  InterleavedStep interleaved_step(const Layout& layout, Recomputed recomputed);
  void add_recomputation(const Layout& layout, Recomputed recomputed, InterleavedStep& step);
  const Saving& saving_of(const Layout& layout);
  /// Of a block that is checkpointed as the layout says.
  double recompute_time(const Layout& layout);
  /// Of kernels that add up a block's gradient, for a microbatch.
  double accumulate_time(const Layout& layout);
  double first_accumulate_time(const Layout& layout);
  common::Bytes memory(const Layout& layout, double saved);
  /// What a stage's blocks at least take longer for a microbatch, as some have to be checkpointed.
  double least_recompute_time(const Layout& layout, const Stage& stage);
  double chosen_recompute_time(const Layout& layout, const Stage& stage);
  /// A slice of so many elements, of which so many are of experts that are shared out.
  std::int64_t sharded(const Layout& layout, std::int64_t elements, std::int64_t experts) const;
  std::int64_t held_elements(const Layout& layout, const Stage& stage);
  std::int64_t slice_elements(const Layout& layout, const Stage& stage);
  /// Copies that are there when the first backward pass begins; and gradients, once each chunk has
  /// had one.
  std::int64_t gathered_bytes(const Layout& layout, const Stage& stage);
  std::int64_t accumulated_bytes(const Layout& layout, const Stage& stage);
  /// Parameters and the optimizer's state.
  std::int64_t state_bytes(const Layout& layout, const Stage& stage);
  /// Of a stage, for its state and its activations.
  double room_for_activations(const Layout& layout, const Stage& stage);
  /// A block's gather or reduction over dp_shard.
  BesideCompute over_shards(const Layout& layout, CollectiveKind kind, std::int64_t element_size);
  Price collective(const Layout& layout, CollectiveKind kind, Axis axis, std::int64_t bytes) const;

  ModelSpec model_;
  ClusterSpec cluster_;
  Job job_;
  bool bounds_model_;
  /// The first block that is unlike the model's first, 0 where all are alike; what each takes and
  /// has is then the lesser of the two.
  std::int64_t other_block_;
  /// Tp, cp, microbatch, sequence parallelism, whether there are stages, asynchronous tp and ep.
  using PassKey = std::array<std::int64_t, 7>;
  static PassKey key_of(const Layout& layout);
  std::map<PassKey, Passes> passes_;
  std::map<PassKey, Saving> savings_;
  /// By tp, whether there are stages, and ep.
  std::map<std::array<std::int64_t, 3>, Elements> elements_;
};

}  // namespace meshplan::planner

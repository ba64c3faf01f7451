#include "planner/search/bounds.h"

// What is put into the bounds of interleaved steps.

namespace meshplan::planner {

InterleavedStep LayoutBounds::interleaved_passes(const Layout& layout) {
  const auto& [embedding, block, head] = passes_of(layout);
  return {.stages = layout.mesh.sizes[Axis::kPp],
          .chunks = layout.virtual_stages,
          .microbatches = layout.accumulation,
          .blocks = model_.num_hidden_layers,
          .embedding = embedding,
          .block = block,
          .head = head};
}

InterleavedStep LayoutBounds::interleaved_step(const Layout& layout, Recomputed recomputed) {
  InterleavedStep step = interleaved_passes(layout);
  const Elements& elements = elements_of(layout);
  const std::int64_t shards = sharding_ranks(layout.mesh);
  const std::int64_t param_size = common::size_of(job_.param_dtype);
  const std::int64_t reduce_size = common::size_of(job_.reduce_dtype);
  const bool chosen = recomputed == Recomputed::kChosen;
  step.prefetch_depth = layout.prefetch_depth;
  step.kept_gathered = chosen ? layout.blocks_kept_gathered : step.blocks;
  step.send =
      collective(layout, CollectiveKind::kSend, Axis::kPp, input_elements(layout) * param_size)
          .duration.value;
  if (shards > 1 && layout.sharding != Sharding::kNoShard) {
    step.gathers_each_pass = without_replicas(layout.sharding) == Sharding::kFullShard;
    step.gather = over_shards(layout, CollectiveKind::kAllGather, param_size);
    step.gather_embedding = collective(layout, CollectiveKind::kAllGather, Axis::kDpShard,
                                       elements.embedding * param_size)
                                .duration.value;
  }
  if (shards > 1) {
    step.last_reduce = over_shards(layout, CollectiveKind::kReduceScatter, reduce_size);
    if (!accumulates_whole_gradients(layout)) step.reduce = step.last_reduce;
    step.reduce_embedding = collective(layout, CollectiveKind::kReduceScatter, Axis::kDpShard,
                                       elements.embedding * reduce_size)
                                .duration.value;
  }
  if (layout.mesh.sizes[Axis::kDpReplicate] > 1) {
    const Price sum =
        collective(layout, CollectiveKind::kAllReduce, Axis::kDpReplicate,
                   sharded(layout, elements.block, elements.block_experts) * reduce_size);
    step.sum_replicas = {sum.duration.value, sum.taken_from_compute.value};
    step.sum_embedding = collective(layout, CollectiveKind::kAllReduce, Axis::kDpReplicate,
                                    elements.embedding / shards * reduce_size)
                             .duration.value;
  }
  // Less is read of the first microbatch's, which is counted here as the last one.
  step.reduce.taken += accumulate_time(layout);
  step.last_reduce.taken += first_accumulate_time(layout);
  add_recomputation(layout, recomputed, step);
  return step;
}

void LayoutBounds::add_recomputation(const Layout& layout, Recomputed recomputed,
                                     InterleavedStep& step) {
  if (other_block_ != 0) return;
  if (recomputed == Recomputed::kLeast) {
    step.recompute_of_stage = [this, layout](std::int64_t index) {
      return least_recompute_time(layout, stage_at(model_, layout, index));
    };
  }
  if (recomputed != Recomputed::kChosen ||
      layout.activation_checkpointing == ActivationCheckpointing::kNone)
    return;
  step.recomputed_blocks = layout.checkpointed_blocks.value_or(step.blocks);
  step.recompute = recompute_time(layout);
}

}  // namespace meshplan::planner

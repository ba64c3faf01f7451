#include "planner/search/interleaved_bound.h"

#include <algorithm>

#include "planner/layout/stage.h"

namespace meshplan::planner {
namespace {

/// What passes of a chunk take at least. `*_on_path`: from the stage's input to its output, where
/// the stage has waited for the input; otherwise from the end of the stage's pass before.
struct ChunkPasses {
  double first_forward = 0;
  double first_forward_on_path = 0;
  double forward = 0;
  double backward = 0;
  double last_backward = 0;
  double last_backward_on_path = 0;
  /// What a pass takes longer that gathers the kept blocks again: one does for each backward pass,
  /// which releases them.
  double gather_kept = 0;

  /// Of so many microbatches in the midst of others.
  double of_pairs(double count) const {
    return count * (forward + backward) + std::max(0.0, count - 1) * gather_kept;
  }
};

/// A forward pass of n blocks, of which the first are gathered, the first of them exposed.
double forward_pass(const InterleavedStep& step, double n, double gathered, double embedding) {
  const double compute = n * step.block.forward + embedding + gathered * step.gather.taken;
  if (gathered <= 0) return compute;
  return std::max(compute + step.gather.duration,
                  gathered * step.gather.duration + (n - gathered + 1) * step.block.forward);
}

ChunkPasses passes_of(const InterleavedStep& step, std::int64_t index) {
  const std::int64_t count = step.stages * step.chunks;
  const Chunk chunk = chunk_at(step.blocks, count, index);
  const auto n = static_cast<double>(chunk.blocks);
  const bool is_first = index == 0;
  const bool is_last = index + 1 == count;
  const auto depth = static_cast<double>(step.prefetch_depth);
  const auto again = static_cast<double>(
      std::clamp<std::int64_t>(step.recomputed_blocks - chunk.first_block, 0, chunk.blocks));
  const auto kept = static_cast<double>(std::min(step.kept_gathered, chunk.blocks));
  const double gathered = step.gathers_each_pass ? n - kept : 0;
  const double embedding = is_first ? step.embedding.forward : 0;
  const UnitPass& block = step.block;
  const double gather = step.gather.duration;
  const double reduce = step.last_reduce.duration;

  ChunkPasses passes;
  passes.forward = forward_pass(step, n, gathered, embedding);
  passes.first_forward = forward_pass(step, n, gather > 0 ? n : 0, embedding);
  // One more than are gathered ahead are there when the input comes.
  passes.first_forward_on_path =
      std::max(n * (block.forward + step.gather.taken) + embedding,
               n > depth + 1 ? 2 * block.forward + (n - depth - 1) * gather : 0);
  const double compute = n * block.backward + again * step.recompute +
                         gathered * step.gather.taken + (is_first ? step.embedding.backward : 0) +
                         (is_last ? step.head.backward : 0);
  const auto backward = [&](double gathers, const BesideCompute& reduction) {
    return std::max({compute + (gathers - gathered) * step.gather.taken + n * reduction.taken,
                     gathers * gather + block.backward,
                     block.backward + (n - 1) * reduction.duration});
  };
  passes.backward = backward(gathered, step.reduce);
  passes.last_backward = std::max(backward(gathered, step.last_reduce),
                                  compute + n * (step.last_reduce.taken + step.sum_replicas.taken));
  // The last block's reduction comes after the message.
  const double reduced = n - 1;
  const double summed = std::max(0.0, n - 2);
  passes.last_backward_on_path =
      std::max(compute + reduced * step.last_reduce.taken + summed * step.sum_replicas.taken,
               n > 1 ? 2 * block.backward + summed * reduce : 0);
  if (step.gathers_each_pass && kept > 0) {
    passes.gather_kept = std::min(forward_pass(step, n, n, embedding) - passes.forward,
                                  backward(n, step.reduce) - passes.backward);
    passes.gather_kept = std::max(0.0, passes.gather_kept);
  }
  return passes;
}

std::int64_t blocks_of_stage(const InterleavedStep& step, std::int64_t stage) {
  std::int64_t blocks = 0;
  for (std::int64_t k = 0; k < step.chunks; ++k)
    blocks += chunk_at(step.blocks, step.stages * step.chunks, k * step.stages + stage).blocks;
  return blocks;
}

}  // namespace

double least_interleaved_time(const InterleavedStep& step) {
  const auto microbatches = static_cast<double>(step.microbatches);
  const auto round = static_cast<double>(step.stages);
  // After the last backward pass the embedding's gradient is reduced.
  const double tail = std::max(0.0, step.last_reduce.duration - step.embedding.backward) +
                      step.reduce_embedding + step.sum_embedding;
  // Through the first chunk of the stages before; and through all chunks but the last.
  double before = step.gather_embedding + tail;
  double there = step.gather_embedding;
  double back = tail;
  // What the last stage does between; and the way of the last chunk's last microbatch from there.
  double between = 0;
  double to_first_stage = 0;
  double longest = 0;
  ChunkPasses last;
  for (std::int64_t s = 0; s < step.stages; ++s) {
    const bool is_last_stage = s + 1 == step.stages;
    double busy = step.recompute_of_stage ? microbatches * step.recompute_of_stage(s) : 0;
    ChunkPasses first;
    for (std::int64_t k = 0; k < step.chunks; ++k) {
      const ChunkPasses passes = passes_of(step, k * step.stages + s);
      const bool is_last_chunk = k + 1 == step.chunks;
      if (k == 0) first = passes;
      busy += passes.of_pairs(microbatches - 1) +
              (k == 0 ? passes.first_forward_on_path + passes.last_backward_on_path
                      : passes.first_forward + passes.last_backward);
      if (is_last_stage && is_last_chunk) {
        last = passes;
        between += passes.first_forward_on_path + passes.of_pairs(microbatches - 1) +
                   passes.last_backward_on_path;
        continue;
      }
      there += passes.first_forward_on_path + step.send;
      back += passes.last_backward_on_path + step.send;
      if (is_last_stage) between += passes.of_pairs(microbatches - round);
      if (is_last_chunk && s > 0) to_first_stage += passes.last_backward_on_path + step.send;
    }
    longest = std::max(longest, before + busy);
    before += first.first_forward_on_path + first.last_backward_on_path + 2 * step.send;
  }
  longest = std::max(longest, there + between + back);
  // Sums over replicas, one after the other, from the first microbatch that retires gradients.
  const auto summed = [&](std::int64_t stage, double begin) {
    const auto blocks = static_cast<double>(blocks_of_stage(step, stage));
    return begin + step.block.backward + step.last_reduce.duration +
           blocks * step.sum_replicas.duration;
  };
  const double at_last = there + between - last.last_backward_on_path;
  const double at_first = there + between + step.send + to_first_stage;
  return std::max(
      {longest, summed(step.stages - 1, at_last), summed(0, at_first) + step.sum_embedding});
}

}  // namespace meshplan::planner

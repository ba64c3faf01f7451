#include "planner/search/interleaved_play.h"

#include <algorithm>
#include <vector>

#include "planner/cost/pipeline_player.h"
#include "planner/layout/stage.h"
#include "planner/program/schedule.h"

namespace meshplan::planner {
namespace {

/// Blocks of a chunk, in the terms that the times of its passes are sums of.
struct ChunkBlocks {
  double count = 0;
  double kept = 0;
  /// What its backward pass computes but for gathers and reductions.
  double backward = 0;
  bool is_first = false;
  bool is_last = false;
  /// Whether the kept ones are there; otherwise the next pass gathers them.
  bool holds_kept = false;
};

class PlayedStage {
 public:
  PlayedStage(const InterleavedStep& step, std::int64_t index) : step_(step), index_(index) {
    Layout layout;
    layout.virtual_stages = step.chunks;
    layout.accumulation = step.microbatches;
    ahead_ = warm_up_passes({.index = index, .count = step.stages}, layout);
    for (std::int64_t k = 0; k < step.chunks; ++k) chunks_.push_back(chunk_of(k));
    if (index == 0) end_ = step.gather_embedding;
  }

  /// Plays passes as long as their inputs are known, and notes when their outputs come to the next
  /// stage; whether there are none left.
  template <class Messages>
  bool advance(Messages& messages) {
    const std::int64_t passes = step_.microbatches * step_.chunks;
    while (backward_ < passes) {
      const bool is_forward = forward_ < passes && forward_ <= backward_ + ahead_;
      Pass pass = interleaved_pass(step_.stages, step_.chunks, is_forward ? forward_ : backward_);
      if (!is_forward) pass.chunk = step_.chunks - 1 - pass.chunk;
      const std::int64_t chunk = pass.chunk * step_.stages + index_;
      const double input = messages.input(is_forward, chunk, pass.microbatch);
      if (input < 0) return false;
      ChunkBlocks& blocks = chunks_[static_cast<std::size_t>(pass.chunk)];
      const double output =
          is_forward ? forward(blocks, pass, input) : backward(blocks, pass, input);
      messages.set_output(is_forward, chunk, pass.microbatch, output + step_.send);
      ++(is_forward ? forward_ : backward_);
    }
    return true;
  }

  /// With the collectives that its last passes have issued.
  double end() const {
    const double reduced =
        index_ == 0 ? std::max(end_, reduced_) + step_.reduce_embedding : reduced_;
    const double summed = index_ == 0 ? std::max(reduced, summed_) + step_.sum_embedding : summed_;
    return std::max({end_, reduced, summed});
  }

 private:
  ChunkBlocks chunk_of(std::int64_t k) const {
    const std::int64_t count = step_.stages * step_.chunks;
    const std::int64_t index = k * step_.stages + index_;
    const Chunk chunk = chunk_at(step_.blocks, count, index);
    const auto again = static_cast<double>(
        std::clamp<std::int64_t>(step_.recomputed_blocks - chunk.first_block, 0, chunk.blocks));
    ChunkBlocks blocks;
    blocks.count = static_cast<double>(chunk.blocks);
    blocks.kept = static_cast<double>(std::min(step_.kept_gathered, chunk.blocks));
    blocks.is_first = index == 0;
    blocks.is_last = index + 1 == count;
    blocks.backward = blocks.count * step_.block.backward + again * step_.recompute +
                      (blocks.is_first ? step_.embedding.backward : 0) +
                      (blocks.is_last ? step_.head.backward : 0);
    return blocks;
  }

  /// Gathers that a pass waits for: all of a step's first pass through the chunk.
  double gathers(ChunkBlocks& blocks, bool is_first) const {
    if (step_.gather.duration <= 0) return 0;
    if (!step_.gathers_each_pass) return is_first ? blocks.count : 0;
    return blocks.holds_kept ? blocks.count - blocks.kept : blocks.count;
  }

  /// When the pass' output is there, which is when it has ended.
  double forward(ChunkBlocks& blocks, const Pass& pass, double input) {
    const auto [block, ignored] = step_.block;
    const auto [gather, taken] = step_.gather;
    const double n = blocks.count;
    const double gathered = gathers(blocks, pass.microbatch == 0);
    blocks.holds_kept = true;
    const double compute =
        n * block + gathered * taken + (blocks.is_first ? step_.embedding.forward : 0);
    // One more than are gathered ahead are there when the input comes.
    const double behind = gathered - static_cast<double>(step_.prefetch_depth) - 1;
    const double on_path =
        std::max(compute, behind > 0 ? 2 * block + behind * gather + (n - gathered) * block : 0);
    double after_last = compute;
    if (gathered > 0)
      after_last = std::max(compute + gather, gathered * gather + (n - gathered + 1) * block);
    end_ = std::max(end_ + after_last, input + on_path);
    return end_;
  }

  /// When the pass' output is there; the last block's gradient is reduced after that.
  double backward(ChunkBlocks& blocks, const Pass& pass, double input) {
    const bool is_last = pass.microbatch + 1 == step_.microbatches;
    const double block = step_.block.backward;
    const BesideCompute& reduce = is_last ? step_.last_reduce : step_.reduce;
    const double n = blocks.count;
    const double gathered = gathers(blocks, false);
    blocks.holds_kept = false;
    const double sums = is_last ? std::max(0.0, n - 2) * step_.sum_replicas.taken : 0;
    const double compute =
        blocks.backward + gathered * step_.gather.taken + (n - 1) * reduce.taken + sums;
    // The reduction of a block waits for that of the block before, on the compute stream.
    const double reduced = n > 1 ? 2 * block + (n - 2) * reduce.duration : 0;
    const double begin = std::max(end_, input);
    const double first_reduced = std::max(begin + block, reduced_) + (n - 1) * reduce.duration;
    const double output = std::max(
        {end_ + std::max({compute, reduced, gathered * step_.gather.duration + block}),
         input + std::max(compute, reduced), n > 1 ? first_reduced - reduce.duration + block : 0});
    end_ = std::max(output + reduce.taken, first_reduced);
    reduced_ = first_reduced + reduce.duration;
    if (is_last)
      summed_ =
          std::max(summed_, begin + block + reduce.duration) + n * step_.sum_replicas.duration;
    return output;
  }

  const InterleavedStep& step_;
  std::int64_t index_;
  std::int64_t ahead_ = 0;
  std::vector<ChunkBlocks> chunks_;
  std::int64_t forward_ = 0;
  std::int64_t backward_ = 0;
  /// Of compute, reductions and sums over replicas.
  double end_ = 0;
  double reduced_ = 0;
  double summed_ = 0;
};

/// When the inputs of chunks are there; negative where that is not known yet.
class Messages {
 public:
  explicit Messages(const InterleavedStep& step)
      : chunks_(step.stages * step.chunks), microbatches_(step.microbatches) {
    const auto count = static_cast<std::size_t>(chunks_ * microbatches_);
    forward_.assign(count, -1);
    backward_.assign(count, -1);
    std::fill_n(forward_.begin(), microbatches_, 0.0);
    std::fill_n(backward_.end() - microbatches_, microbatches_, 0.0);
  }

  double input(bool forward, std::int64_t chunk, std::int64_t microbatch) const {
    return (forward ? forward_ : backward_)[at(chunk, microbatch)];
  }
  void set_output(bool forward, std::int64_t chunk, std::int64_t microbatch, double time) {
    const std::int64_t to = forward ? chunk + 1 : chunk - 1;
    if (to >= 0 && to < chunks_) (forward ? forward_ : backward_)[at(to, microbatch)] = time;
  }

 private:
  std::size_t at(std::int64_t chunk, std::int64_t microbatch) const {
    return static_cast<std::size_t>(chunk * microbatches_ + microbatch);
  }

  std::int64_t chunks_;
  std::int64_t microbatches_;
  std::vector<double> forward_;
  std::vector<double> backward_;
};

}  // namespace

bool is_soon_played(const InterleavedStep& step) {
  constexpr std::int64_t kMostPasses = 1 << 14;
  return step.microbatches <= pipeline_transient(step.stages) &&
         step.stages * step.chunks <= kMostPasses / step.microbatches;
}

double played_interleaved_time(const InterleavedStep& step) {
  std::vector<PlayedStage> stages;
  stages.reserve(static_cast<std::size_t>(step.stages));
  for (std::int64_t s = 0; s < step.stages; ++s) stages.emplace_back(step, s);
  Messages messages(step);
  for (bool all_done = false; !all_done;) {
    all_done = true;
    for (PlayedStage& stage : stages) stage.advance(messages);
    for (auto stage = stages.rbegin(); stage != stages.rend(); ++stage)
      all_done = stage->advance(messages) && all_done;
  }
  double end = 0;
  for (const PlayedStage& stage : stages) end = std::max(end, stage.end());
  return end;
}

}  // namespace meshplan::planner

#include "planner/program/schedule.h"

#include <algorithm>

namespace meshplan::planner {
namespace {

/// The passes of a stage by their place in the step.
class Passes {
 public:
  Passes(const Stage& stage, const Layout& layout)
      : stages_(stage.count),
        chunks_(layout.virtual_stages),
        count_(layout.accumulation * layout.virtual_stages),
        ahead_(warm_up_passes(stage, layout)) {}

  std::int64_t period() const { return stages_ * chunks_; }
  /// Slots that have a forward pass ahead of the backward passes, both, or a backward pass.
  std::int64_t slots() const { return count_ + ahead_; }
  std::int64_t warm_up() const { return ahead_; }
  std::int64_t pairs() const { return count_ - ahead_; }

  Slot slot(std::int64_t index) const {
    Slot slot;
    if (index < count_) slot.forward = interleaved_pass(stages_, chunks_, index);
    if (index >= ahead_) slot.backward = backward(index - ahead_);
    return slot;
  }

 private:
  Pass backward(std::int64_t index) const {
    Pass pass = interleaved_pass(stages_, chunks_, index);
    pass.chunk = chunks_ - 1 - pass.chunk;
    return pass;
  }

  std::int64_t stages_;
  std::int64_t chunks_;
  std::int64_t count_;
  std::int64_t ahead_;
};

}  // namespace

Pass interleaved_pass(std::int64_t stages, std::int64_t chunks, std::int64_t index) {
  const std::int64_t round = index / (stages * chunks);
  return {.microbatch = round * stages + index % stages,
          .chunk = index % (stages * chunks) / stages};
}

std::int64_t warm_up_passes(const Stage& stage, const Layout& layout) {
  const std::int64_t behind = stage.count - 1 - stage.index;
  if (layout.virtual_stages == 1) return std::min(behind, layout.accumulation);
  return std::min(2 * behind + (layout.virtual_stages - 1) * stage.count,
                  layout.virtual_stages * layout.accumulation);
}

std::vector<Period> interleaved_schedule(const Stage& stage, const Layout& layout) {
  const Passes passes(stage, layout);
  const auto slots = [&](std::int64_t begin, std::int64_t end) {
    std::vector<Slot> found;
    for (std::int64_t index = begin; index < end; ++index) found.push_back(passes.slot(index));
    return found;
  };
  // The first period of pairs has the step's first microbatches, the second retires what the first
  // left, and the last one has the step's last microbatches.
  const std::int64_t alike = passes.warm_up() + 2 * passes.period();
  const std::int64_t count = std::max<std::int64_t>(0, passes.pairs() / passes.period() - 3);
  if (count < 2) return {{.slots = slots(0, passes.slots())}};
  return {{.slots = slots(0, alike)},
          {.slots = slots(alike, alike + passes.period()),
           .count = count,
           .microbatch_stride = stage.count},
          {.slots = slots(alike + count * passes.period(), passes.slots())}};
}

}  // namespace meshplan::planner

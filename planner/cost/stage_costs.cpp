#include "planner/cost/stage_costs.h"

#include <algorithm>
#include <utility>

#include "planner/cost/memory.h"
#include "planner/cost/priced_program.h"

namespace meshplan::planner {
namespace {

constexpr std::uint16_t kUnknown = 0xffff;
/// As many as most programs have.
constexpr std::size_t kKinds = 32;

ByteCounts held_by(StepContext& context, std::int64_t microbatches) {
  context.layout.accumulation = microbatches;
  const MemoryBreakdown breakdown = persistent_breakdown(context);
  ByteCounts counts{};
  for (std::size_t c = 0; c < kMemoryClasses; ++c) counts[c] = breakdown[c].value;
  return counts;
}

}  // namespace

StageCosts::StageCosts(StepContext context) : context_(std::move(context)) {
  costs_.reserve(kKinds);
  held_ = held_by(context_, 0);
  held_per_microbatch_ = held_by(context_, 1);
  for (std::size_t c = 0; c < kMemoryClasses; ++c) held_per_microbatch_[c] -= held_[c];
}

ByteCounts StageCosts::held(std::int64_t microbatches) const {
  ByteCounts sum = held_;
  for (std::size_t c = 0; c < kMemoryClasses; ++c) sum[c] += microbatches * held_per_microbatch_[c];
  return sum;
}

bool StageCosts::learn(const ClusterSpec& cluster, std::size_t number, const Instruction& kind) {
  known_.resize(std::max(known_.size(), number + 1), kUnknown);
  if (known_[number] != kUnknown) return false;
  known_[number] = static_cast<std::uint16_t>(costs_.size());
  costs_.push_back(kind_cost(price_instruction(context_, cluster, kind).cost));
  return true;
}

}  // namespace meshplan::planner

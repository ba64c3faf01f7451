#include "planner/cost/estimate_tables.h"

#include <algorithm>
#include <utility>

#include "planner/cost/estimate.h"
#include "planner/cost/memory.h"
#include "planner/cost/priced_program.h"

namespace meshplan::planner {
namespace {

QuickEstimate played(const ModelSpec& model, const ClusterSpec& cluster, const Job& job,
                     const Layout& layout) {
  const Estimate whole = estimate(model, cluster, job, layout);
  QuickEstimate quick{.peak = whole.memory.breakdown,
                      .peak_allocated = whole.memory.peak_allocated,
                      .traffic = whole.traffic,
                      .step_time = whole.step_time};
  for (AxisTraffic& axis : quick.traffic) axis.time = axis.exposed = common::Seconds();
  return quick;
}

/// What of it tells how an instruction expands.
Instruction kind_of(Instruction instruction) {
  instruction.waits = {};
  instruction.microbatch = 0;
  return instruction;
}

ByteCounts counts_of(const MemoryBreakdown& breakdown) {
  ByteCounts counts{};
  for (std::size_t c = 0; c < kMemoryClasses; ++c) counts[c] = breakdown[c].value;
  return counts;
}

constexpr std::uint16_t kUnknown = 0xffff;

/// Estimates lie in no order: those to be written soon are fetched this many layouts ahead.
constexpr std::size_t kAhead = 4;
constexpr std::size_t kCacheLine = 64;

void prefetch(QuickEstimate& estimate) {
  const auto* bytes = reinterpret_cast<const char*>(&estimate);
  for (std::size_t at = 0; at < sizeof(estimate); at += kCacheLine)
    __builtin_prefetch(bytes + at, 1);
}

/// A pipeline's stages wait for one another, which no table has.
bool is_pipeline(const Layout& layout) { return layout.mesh.sizes[Axis::kPp] > 1; }

}  // namespace

/// Layouts that differ in regions and microbatches alone.
struct EstimateTables::Family {
  explicit Family(StepContext c) : context(std::move(c)) {
    context.layout.accumulation = 0;
    held = counts_of(persistent_breakdown(context));
    context.layout.accumulation = 1;
    held_per_microbatch = counts_of(persistent_breakdown(context));
    for (std::size_t i = 0; i < kMemoryClasses; ++i) held_per_microbatch[i] -= held[i];
  }

  StepContext context;
  /// All through the step.
  ByteCounts held{};
  ByteCounts held_per_microbatch{};
  /// The index of a kind's costs, by its number.
  std::vector<std::uint16_t> known;
  std::vector<KindCost> costs;

  ByteCounts held_with(std::int64_t microbatches) const {
    ByteCounts sum = held;
    for (std::size_t c = 0; c < kMemoryClasses; ++c)
      sum[c] += microbatches * held_per_microbatch[c];
    return sum;
  }

  void learn(const ClusterSpec& cluster, std::size_t number, const Instruction& kind) {
    known.resize(std::max(known.size(), number + 1), kUnknown);
    if (known[number] != kUnknown) return;
    known[number] = static_cast<std::uint16_t>(costs.size());
    costs.push_back(kind_cost(price_instruction(context, cluster, kind).cost));
  }
};

EstimateTables::EstimateTables(const ModelSpec& model, const ClusterSpec& cluster, const Job& job)
    : model_(model), cluster_(cluster), job_(job) {}
EstimateTables::EstimateTables(EstimateTables&&) noexcept = default;
EstimateTables::~EstimateTables() = default;

QuickEstimate EstimateTables::price(const Layout& layout) {
  if (is_pipeline(layout)) return played(model_, cluster_, job_, layout);
  const Sort sort = sort_of(layout);
  select_costs(sort);
  QuickEstimate estimate;
  price_selected(sort, estimate);
  return estimate;
}

void EstimateTables::price(std::span<const Layout> layouts, std::span<QuickEstimate> estimates) {
  order_.clear();
  for (std::size_t i = 0; i < layouts.size(); ++i) {
    if (is_pipeline(layouts[i])) {
      estimates[i] = played(model_, cluster_, job_, layouts[i]);
    } else {
      order_.push_back(sort_of(layouts[i]));
      order_.back().layout = static_cast<std::uint32_t>(i);
    }
  }
  const auto sort_key = [](const Sort& sort) { return std::pair(sort.family, sort.program); };
  std::sort(order_.begin(), order_.end(), [&](const Sort& a, const Sort& b) {
    return sort_key(a) < sort_key(b);
  });
  for (std::size_t i = 0; i < order_.size(); ++i) {
    if (i == 0 || sort_key(order_[i]) != sort_key(order_[i - 1])) select_costs(order_[i]);
    if (i + kAhead < order_.size()) prefetch(estimates[order_[i + kAhead].layout]);
    price_selected(order_[i], estimates[order_[i].layout]);
  }
}

void EstimateTables::price_selected(const Sort& sort, QuickEstimate& estimate) {
  estimate.step_time = common::Seconds(cost_.step_time(sort.growth));
  const ByteCounts peak = cost_.peak_memory(sort.growth);
  const ByteCounts held = families_[sort.family].held_with(
      programs_[sort.program].program.microbatches + sort.growth[kMicrobatches]);
  estimate.peak_allocated = common::Bytes();
  for (std::size_t c = 0; c < kMemoryClasses; ++c) {
    estimate.peak[c] = common::Bytes(held[c] + peak[c]);
    estimate.peak_allocated += estimate.peak[c];
  }
  const TrafficCounts traffic = cost_.traffic(sort.growth);
  for (std::size_t a = 0; a < kAxes.size(); ++a) {
    estimate.traffic[a] = {.bytes = common::Bytes(traffic[a].bytes),
                           .wire_bytes = common::Bytes(traffic[a].wire_bytes),
                           .operations = traffic[a].operations};
  }
}

void EstimateTables::select_costs(const Sort& sort) {
  const Program& program = programs_[sort.program];
  Family& family = families_[sort.family];
  for (std::size_t k = 0; k < program.kinds.size(); ++k)
    family.learn(cluster_, program.kinds[k], program.program.kinds[k]);
  kind_costs_.clear();
  for (const std::size_t number : program.kinds)
    kind_costs_.push_back(&family.costs[family.known[number]]);
  cost_.set(program.program.playback, kind_costs_);
}

EstimateTables::Sort EstimateTables::sort_of(const Layout& layout) {
  const Regions regions = regions_of(model_, layout);
  Sort sort{.family = family_of(layout), .program = program_of(layout, regions)};
  sort.growth = growth_of(programs_[sort.program].program, regions, layout.accumulation);
  return sort;
}

std::uint32_t EstimateTables::family_of(const Layout& layout) {
  const AxisSizes& sizes = layout.mesh.sizes;
  const Key key = {sizes[Axis::kDpReplicate],
                   sizes[Axis::kDpShard],
                   sizes[Axis::kCp],
                   sizes[Axis::kTp],
                   static_cast<std::int64_t>(layout.sharding) * 4 +
                       static_cast<std::int64_t>(layout.gradient_accumulation) * 2 +
                       (layout.sequence_parallel ? 1 : 0),
                   layout.microbatch_size,
                   layout.loss_chunks,
                   layout.mesh.ranks_per_node};
  const auto [found, is_new] =
      family_index_.try_emplace(key, static_cast<std::uint32_t>(families_.size()));
  if (is_new) families_.emplace_back(make_step_context(model_, job_, layout, cluster_.device.kind));
  return found->second;
}

std::uint32_t EstimateTables::program_of(const Layout& layout, const Regions& regions) {
  const AxisSizes& sizes = layout.mesh.sizes;
  const Regions cut = shortened(regions);
  const Key key = {
      cut.blocks[0],
      cut.blocks[1],
      cut.blocks[2],
      cut.overlap,
      shortened(layout.accumulation),
      static_cast<std::int64_t>(layout.activation_checkpointing),
      static_cast<std::int64_t>(without_replicas(layout.sharding)) * 2 +
          static_cast<std::int64_t>(layout.gradient_accumulation),
      (layout.sequence_parallel ? 8 : 0) + (sizes[Axis::kTp] > 1 ? 4 : 0) +
          (sharding_ranks(layout.mesh) > 1 ? 2 : 0) + (sizes[Axis::kDpReplicate] > 1 ? 1 : 0)};
  const auto [found, is_new] =
      program_index_.try_emplace(key, static_cast<std::uint32_t>(programs_.size()));
  if (is_new) {
    Program program{short_program(model_, job_, layout), {}};
    for (const Instruction& kind : program.program.kinds)
      program.kinds.push_back(number_of(kind_of(kind)));
    programs_.push_back(std::move(program));
  }
  return found->second;
}

std::size_t EstimateTables::number_of(const Instruction& kind) {
  const auto found = std::find(kinds_.begin(), kinds_.end(), kind);
  const auto number = static_cast<std::size_t>(found - kinds_.begin());
  if (found == kinds_.end()) kinds_.push_back(kind);
  return number;
}

/// Multiply and xor-shift of each number in turn (Steele, Lea, Flood 2014, "Fast splittable
/// pseudorandom number generators", section 3, has the constants).
std::size_t EstimateTables::KeyHash::operator()(const Key& key) const {
  std::uint64_t hash = 0x9e3779b97f4a7c15u;
  for (std::int64_t number : key) {
    hash ^= static_cast<std::uint64_t>(number);
    hash *= 0xbf58476d1ce4e5b9u;
    hash ^= hash >> 31;
  }
  return hash;
}

}  // namespace meshplan::planner

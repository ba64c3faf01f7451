#include "planner/cost/estimate_tables.h"

#include <algorithm>
#include <numeric>
#include <optional>
#include <utility>

#include "planner/cost/estimate.h"
#include "planner/cost/memory.h"
#include "planner/cost/pipeline_player.h"
#include "planner/model/feed_forward_model.h"
#include "planner/model/parameter_table.h"

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
  instruction.chunk = 0;
  return instruction;
}

/// What is priced in order lies in none: what is needed soon is fetched this many layouts ahead.
constexpr std::size_t kAhead = 4;
constexpr std::size_t kCacheLine = 64;
enum Access { kRead, kWritten };

template <Access access, class T>
void prefetch(const T& value) {
  const auto* bytes = reinterpret_cast<const char*>(&value);
  for (std::size_t at = 0; at < sizeof(value); at += kCacheLine)
    __builtin_prefetch(bytes + at, access);
}

/// By a key below `keys`, in time that grows with both (Knuth, The Art of Computer Programming,
/// vol. 3, section 5.2, algorithm D). Requires as much room in `to`.
template <class T, class KeyOf>
void sort_stably(const std::vector<T>& from, std::vector<T>& to, std::size_t keys,
                 const KeyOf& key_of) {
  std::vector<std::size_t> begins(keys + 1);
  for (const T& value : from) ++begins[key_of(value) + 1];
  for (std::size_t key = 0; key < keys; ++key) begins[key + 1] += begins[key];
  for (const T& value : from) to[begins[key_of(value)]++] = value;
}

/// Whether the stage is the first, the last, both or neither.
std::int64_t place_of(const Stage& stage) {
  return (stage.is_first() ? 2 : 0) + (stage.is_last() ? 1 : 0);
}

/// What tells the blocks of a stage from those of another: how many, where all are alike.
std::int64_t kinds_of_blocks(const ModelSpec& model, const Stage& stage) {
  constexpr std::int64_t kBeyondBlocks = 1 << 20;
  return first_other_block(model) == 0 ? stage.blocks : (stage.index + 1) * kBeyondBlocks;
}

/// What shapes programs beside their lengths.
std::int64_t way_of_sharding(const Layout& layout) {
  return static_cast<std::int64_t>(without_replicas(layout.sharding)) * 2 +
         static_cast<std::int64_t>(layout.gradient_accumulation);
}
std::int64_t uses_of_axes(const Layout& layout) {
  const AxisSizes& sizes = layout.mesh.sizes;
  return (layout.sequence_parallel ? 8 : 0) + (sizes[Axis::kTp] > 1 ? 4 : 0) +
         (sharding_ranks(layout.mesh) > 1 ? 2 : 0) + (sizes[Axis::kDpReplicate] > 1 ? 1 : 0);
}

bool is_pipeline(const Layout& layout) { return layout.mesh.sizes[Axis::kPp] > 1; }

}  // namespace

EstimateTables::EstimateTables(const ModelSpec& model, const ClusterSpec& cluster, const Job& job)
    : model_(model), cluster_(cluster), job_(job) {}

QuickEstimate EstimateTables::price(const Layout& layout) {
  if (is_feed_forward(model_)) return played(model_, cluster_, job_, layout);
  make_room();
  if (is_pipeline(layout)) return price_pipeline(layout);
  const Sort sort = sort_of(layout, stage_at(model_, layout, 0));
  select(sort);
  QuickEstimate estimate;
  price(cost_, sort, estimate);
  estimate.step_time = common::Seconds(cost_.step_time(sort.growth));
  return estimate;
}

common::Bytes EstimateTables::peak_allocated(const Layout& layout) {
  if (is_feed_forward(model_)) return played(model_, cluster_, job_, layout).peak_allocated;
  common::Bytes peak;
  for (const Stage& stage : stages_that_peak(model_, layout))
    peak = std::max(peak, peak_allocated(layout, stage));
  return peak;
}

common::Bytes EstimateTables::peak_allocated(const Layout& layout, const Stage& stage) {
  if (is_feed_forward(model_)) return peak_allocated(layout);
  make_room();
  const Sort sort = sort_of(layout, stage);
  select(sort);
  const ByteCounts held = costs_[sort.costs].held(sort.microbatches);
  return common::Bytes(std::accumulate(held.begin(), held.end(), cost_.peak_total(sort.growth)));
}

void EstimateTables::make_room() {
  constexpr std::size_t kMostInstructions = 8'000'000;
  if (instructions_ <= kMostInstructions) return;
  program_index_.clear();
  programs_.clear();
  instructions_ = 0;
  selected_.reset();
}

void EstimateTables::price(std::span<const Layout> layouts, std::span<QuickEstimate> estimates) {
  const auto has_one_sort = [this](const Layout& layout) {
    return can_be_shortened(model_, layout) && !is_pipeline(layout);
  };
  // Programs may be forgotten as these are priced.
  for (std::size_t i = 0; i < layouts.size(); ++i) {
    if (!has_one_sort(layouts[i])) estimates[i] = price(layouts[i]);
  }
  sorts_.clear();
  sorts_.reserve(layouts.size());
  for (std::size_t i = 0; i < layouts.size(); ++i) {
    if (!has_one_sort(layouts[i])) continue;
    sorts_.push_back(sort_of(layouts[i], stage_at(model_, layouts[i], 0)));
    sorts_.back().layout = static_cast<std::uint32_t>(i);
  }
  put_in_order();
  for (std::size_t i = 0; i < order_.size(); ++i) {
    if (i + 2 * kAhead < order_.size()) prefetch<kRead>(sorts_[order_[i + 2 * kAhead].index]);
    if (i + kAhead < order_.size())
      prefetch<kWritten>(estimates[sorts_[order_[i + kAhead].index].layout]);
    const Sort& sort = sorts_[order_[i].index];
    select(sort);
    QuickEstimate& estimate = estimates[sort.layout];
    price(cost_, sort, estimate);
    estimate.step_time = common::Seconds(cost_.step_time_of_many(sort.growth));
  }
}

void EstimateTables::put_in_order() {
  half_ordered_.resize(sorts_.size());
  for (std::size_t i = 0; i < sorts_.size(); ++i)
    half_ordered_[i] = {sorts_[i].costs, sorts_[i].program, static_cast<std::uint32_t>(i)};
  order_.resize(sorts_.size());
  sort_stably(half_ordered_, order_, programs_.size(), [](const Place& p) { return p.program; });
  order_.swap(half_ordered_);
  sort_stably(half_ordered_, order_, costs_.size(), [](const Place& p) { return p.costs; });
}

void EstimateTables::price(ProgramCost& cost, const Sort& sort, QuickEstimate& estimate) const {
  price_memory(cost, sort, estimate);
  const TrafficCounts traffic = cost.traffic(sort.growth);
  for (std::size_t a = 0; a < kAxes.size(); ++a) {
    estimate.traffic[a] = {};
    estimate.traffic[a].bytes = common::Bytes(traffic[a].bytes);
    estimate.traffic[a].wire_bytes = common::Bytes(traffic[a].wire_bytes);
    estimate.traffic[a].operations = traffic[a].operations;
  }
}

void EstimateTables::price_memory(ProgramCost& cost, const Sort& sort,
                                  QuickEstimate& estimate) const {
  const ByteCounts peak = cost.peak_memory(sort.growth);
  const ByteCounts held = costs_[sort.costs].held(sort.microbatches);
  estimate.peak_allocated = common::Bytes();
  for (std::size_t c = 0; c < kMemoryClasses; ++c) {
    estimate.peak[c] = common::Bytes(held[c] + peak[c]);
    estimate.peak_allocated += estimate.peak[c];
  }
}

void EstimateTables::set_stages(const Layout& layout) {
  stages_.clear();
  for (const Stage& stage : stages_of(model_, layout)) {
    stages_.push_back(sort_of(layout, stage));
    learn(stages_.back());
  }
  cost_of_stage_.clear();
  std::size_t costs = 0;
  for (const Sort& stage : stages_) {
    const auto alike = std::find_if(stages_.begin(), stages_.end(),
                                    [&](const Sort& other) { return other.has_cost_of(stage); });
    const auto first = static_cast<std::size_t>(alike - stages_.begin());
    if (first < cost_of_stage_.size()) {
      cost_of_stage_.push_back(cost_of_stage_[first]);
      continue;
    }
    if (pipeline_.size() <= costs) pipeline_.emplace_back();
    set(pipeline_[costs], stage);
    cost_of_stage_.push_back(costs++);
  }
}

/// Memory is that of the stage that needs most, traffic on each axis that of the one with most.
QuickEstimate EstimateTables::price_pipeline(const Layout& layout) {
  set_stages(layout);
  QuickEstimate whole;
  for (std::size_t s = 0; s < stages_.size(); ++s) {
    ProgramCost& cost = pipeline_[cost_of_stage_[s]];
    QuickEstimate stage;
    price_memory(cost, stages_[s], stage);
    if (stage.peak_allocated > whole.peak_allocated) {
      whole.peak = stage.peak;
      whole.peak_allocated = stage.peak_allocated;
    }
    const TrafficCounts traffic = cost.traffic(stages_[s].growth);
    for (std::size_t a = 0; a < kAxes.size(); ++a) {
      if (traffic[a].bytes <= whole.traffic[a].bytes.value) continue;
      whole.traffic[a].bytes = common::Bytes(traffic[a].bytes);
      whole.traffic[a].wire_bytes = common::Bytes(traffic[a].wire_bytes);
      whole.traffic[a].operations = traffic[a].operations;
    }
  }
  whole.step_time = common::Seconds(pipeline_time(layout));
  return whole;
}

double EstimateTables::pipeline_time(const Layout& layout) {
  if (layout.virtual_stages > 1) return interleaved_time(layout);
  const auto stages_without = [&](std::int64_t rounds) {
    std::vector<TimedPlayer> players;
    players.reserve(stages_.size());
    for (std::size_t s = 0; s < stages_.size(); ++s) {
      Growth growth = stages_[s].growth;
      growth[kRegions + kInTurn] -= rounds;
      players.push_back(pipeline_[cost_of_stage_[s]].player(growth, 1));
    }
    return players;
  };
  return play_rounds(std::ssize(stages_), layout.accumulation, stages_without).end();
}

double EstimateTables::interleaved_time(const Layout& layout) {
  Layout shorter = layout;
  shorter.accumulation = std::min(layout.accumulation, pipeline_transient(std::ssize(stages_)));
  if (shorter.accumulation < layout.accumulation) set_stages(shorter);
  PlayedPipeline<TimedRank> pipeline;
  const auto chunks = static_cast<std::size_t>(layout.virtual_stages);
  for (const std::size_t cost : cost_of_stage_)
    pipeline.stages.push_back(pipeline_[cost].player({}, chunks));
  play_beside_each_other(pipeline.stages);
  if (shorter.accumulation < layout.accumulation) {
    pipeline.rest = static_cast<double>(layout.accumulation - shorter.accumulation) *
                    cycle_of(pipeline.stages).value();
  }
  return pipeline.end();
}

void EstimateTables::learn(const Sort& sort) {
  const Program& program = programs_[sort.program];
  for (std::size_t k = 0; k < program.kinds.size(); ++k) {
    const bool is_new =
        costs_[sort.costs].learn(cluster_, program.kinds[k], program.program.kinds[k]);
    if (is_new && selected_ && selected_->costs == sort.costs) selected_.reset();
  }
}

void EstimateTables::select(const Sort& sort) {
  if (selected_ && sort.has_cost_of(*selected_)) return;
  set(cost_, sort);
  selected_ = sort;
}

void EstimateTables::set(ProgramCost& cost, const Sort& sort) {
  learn(sort);
  const Program& program = programs_[sort.program];
  kind_costs_.clear();
  for (const std::size_t number : program.kinds) kind_costs_.push_back(&costs_[sort.costs][number]);
  cost.set(program.program, kind_costs_);
}

EstimateTables::Sort EstimateTables::sort_of(const Layout& layout, const Stage& stage) {
  if (!can_be_shortened(model_, layout)) {
    return {.costs = costs_of(layout, stage),
            .program = whole_program_of(layout, stage),
            .microbatches = layout.accumulation};
  }
  const ProgramLengths lengths = lengths_of(layout, stage);
  Sort sort{.costs = costs_of(layout, stage),
            .program = program_of(layout, stage, lengths),
            .microbatches = layout.accumulation};
  sort.growth = growth_of(programs_[sort.program].program, lengths);
  return sort;
}

std::uint32_t EstimateTables::costs_of(const Layout& layout, const Stage& stage) {
  const AxisSizes& sizes = layout.mesh.sizes;
  const Key key = {sizes[Axis::kDpReplicate],
                   sizes[Axis::kDpShard],
                   sizes[Axis::kCp],
                   sizes[Axis::kTp],
                   sizes[Axis::kPp],
                   static_cast<std::int64_t>(layout.sharding) * 4 +
                       static_cast<std::int64_t>(layout.gradient_accumulation) * 2 +
                       (layout.sequence_parallel ? 1 : 0) + (layout.async_tp ? 32 : 0) +
                       (layout.optimizer_offload ? 64 : 0),
                   layout.microbatch_size,
                   layout.loss_chunks,
                   layout.mesh.ranks_per_node,
                   layout.mesh.expert_parallel,
                   kinds_of_blocks(model_, stage) * 4 + place_of(stage)};
  const auto [found, is_new] =
      costs_index_.try_emplace(key, static_cast<std::uint32_t>(costs_.size()));
  if (is_new) {
    costs_.emplace_back(make_step_context(model_, job_, layout, cluster_.device.kind, stage.index));
  }
  return found->second;
}

std::uint32_t EstimateTables::program_of(const Layout& layout, const Stage& stage,
                                         const ProgramLengths& lengths) {
  const auto& [regions, runs] = shortened(lengths);
  const Key key = {regions.blocks[0],
                   regions.blocks[1],
                   regions.blocks[2],
                   regions.overlap,
                   runs[0],
                   runs[1],
                   static_cast<std::int64_t>(layout.activation_checkpointing),
                   way_of_sharding(layout),
                   uses_of_axes(layout),
                   layout.mesh.expert_parallel > 1,
                   place_of(stage)};
  const auto [found, is_new] =
      program_index_.try_emplace(key, static_cast<std::uint32_t>(programs_.size()));
  if (is_new) add_program(short_program(model_, job_, layout, stage));
  return found->second;
}

std::uint32_t EstimateTables::whole_program_of(const Layout& layout, const Stage& stage) {
  const bool checkpoints = layout.activation_checkpointing != ActivationCheckpointing::kNone;
  const bool releases = without_replicas(layout.sharding) == Sharding::kFullShard;
  const std::int64_t blocks = model_.num_hidden_layers;
  // The first number is none of a cut program's.
  const Key key = {-layout.virtual_stages,
                   layout.mesh.sizes[Axis::kPp],
                   stage.index,
                   layout.accumulation,
                   checkpoints ? std::min(blocks, layout.checkpointed_blocks.value_or(blocks)) : 0,
                   releases ? std::min(blocks, layout.blocks_kept_gathered) : 0,
                   static_cast<std::int64_t>(layout.activation_checkpointing),
                   way_of_sharding(layout),
                   uses_of_axes(layout),
                   layout.mesh.expert_parallel > 1,
                   layout.prefetch_depth};
  const auto [found, is_new] =
      program_index_.try_emplace(key, static_cast<std::uint32_t>(programs_.size()));
  if (is_new) add_program(whole_program(model_, job_, layout, stage));
  return found->second;
}

void EstimateTables::add_program(ShortProgram program) {
  Program& added = programs_.emplace_back(Program{std::move(program), {}});
  for (const Instruction& kind : added.program.kinds)
    added.kinds.push_back(number_of(kind_of(kind)));
  instructions_ += added.program.playback.instructions.size();
}

std::size_t EstimateTables::number_of(const Instruction& kind) {
  const auto found = std::find(kinds_.begin(), kinds_.end(), kind);
  const auto number = static_cast<std::size_t>(found - kinds_.begin());
  if (found == kinds_.end()) kinds_.push_back(kind);
  return number;
}

/// A sum of products, which do not wait for one another, with odd multiples of the golden ratio
/// (Knuth, The Art of Computer Programming, vol. 3, section 6.4); its high bits are mixed into the
/// low ones.
std::size_t EstimateTables::KeyHash::operator()(const Key& key) const {
  constexpr std::uint64_t kGolden = 0x9e3779b97f4a7c15u;
  std::uint64_t hash = 0;
  std::uint64_t factor = kGolden;
  for (std::int64_t number : key) {
    hash += static_cast<std::uint64_t>(number) * factor;
    factor = factor * kGolden | 1;
  }
  hash ^= hash >> 32;
  hash *= kGolden;
  return hash ^ (hash >> 29);
}

}  // namespace meshplan::planner

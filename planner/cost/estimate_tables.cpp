#include "planner/cost/estimate_tables.h"

#include <algorithm>
#include <optional>
#include <utility>

#include "planner/cost/estimate.h"
#include "planner/cost/memory.h"
#include "planner/cost/pipeline_player.h"
#include "planner/cost/priced_program.h"
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

common::Bytes played_peak(const ModelSpec& model, const ClusterSpec& cluster, const Job& job,
                          const Layout& layout, const Stage& stage) {
  const StepContext context =
      make_step_context(model, job, layout, cluster.device.kind, stage.index);
  const StepProgram program = build_program(model, job, layout, stage.index);
  return total(memory_peak(context, price_program(context, cluster, program)).breakdown);
}

/// What of it tells how an instruction expands.
Instruction kind_of(Instruction instruction) {
  instruction.waits = {};
  instruction.microbatch = 0;
  return instruction;
}

/// Estimates lie in no order: those to be written soon are fetched this many layouts ahead.
constexpr std::size_t kAhead = 4;
constexpr std::size_t kCacheLine = 64;

void prefetch(QuickEstimate& estimate) {
  const auto* bytes = reinterpret_cast<const char*>(&estimate);
  for (std::size_t at = 0; at < sizeof(estimate); at += kCacheLine)
    __builtin_prefetch(bytes + at, 1);
}

/// Whether the stage is the first, the last, both or neither.
std::int64_t place_of(const Stage& stage) {
  return (stage.is_first() ? 2 : 0) + (stage.is_last() ? 1 : 0);
}

/// What tells the blocks of a stage from those of another, by chunk: how many, and how many of them
/// are checkpointed.
std::vector<std::pair<std::int64_t, std::int64_t>> blocks_of(const ModelSpec& model,
                                                             const Layout& layout,
                                                             const Stage& stage) {
  const bool checkpoints = layout.activation_checkpointing != ActivationCheckpointing::kNone;
  const std::int64_t chosen =
      checkpoints ? layout.checkpointed_blocks.value_or(model.num_hidden_layers) : 0;
  std::vector<std::pair<std::int64_t, std::int64_t>> blocks;
  for (const Chunk& chunk : chunks_of(model, layout, stage.index)) {
    blocks.emplace_back(chunk.blocks,
                        std::clamp<std::int64_t>(chosen - chunk.first_block, 0, chunk.blocks));
  }
  return blocks;
}

/// One of these needs as much memory as any: of stages that treat as many blocks alike, the first
/// has most microbatches under way. Where blocks differ it is all of them.
std::vector<Stage> stages_that_peak(const ModelSpec& model, const Layout& layout) {
  if (is_feed_forward(model) || first_other_block(model) != 0) return stages_of(model, layout);
  std::vector<Stage> stages;
  std::vector<std::vector<std::pair<std::int64_t, std::int64_t>>> seen;
  for (const Stage& stage : stages_of(model, layout)) {
    if (!stage.is_first() && !stage.is_last()) {
      auto blocks = blocks_of(model, layout, stage);
      if (std::find(seen.begin(), seen.end(), blocks) != seen.end()) continue;
      seen.push_back(std::move(blocks));
    }
    stages.push_back(stage);
  }
  return stages;
}

bool is_pipeline(const Layout& layout) { return layout.mesh.sizes[Axis::kPp] > 1; }

}  // namespace

EstimateTables::EstimateTables(const ModelSpec& model, const ClusterSpec& cluster, const Job& job)
    : model_(model), cluster_(cluster), job_(job) {}

QuickEstimate EstimateTables::price(const Layout& layout) {
  if (!can_be_shortened(model_, layout)) return played(model_, cluster_, job_, layout);
  if (is_pipeline(layout)) return price_pipeline(layout);
  const Sort sort = sort_of(layout, stage_at(model_, layout, 0));
  select(sort);
  QuickEstimate estimate;
  price(cost_, sort, estimate);
  estimate.step_time = common::Seconds(cost_.step_time(sort.growth));
  return estimate;
}

common::Bytes EstimateTables::peak_allocated(const Layout& layout) {
  QuickEstimate estimate;
  common::Bytes peak;
  if (!can_be_shortened(model_, layout)) {
    for (const Stage& stage : stages_that_peak(model_, layout))
      peak = std::max(peak, played_peak(model_, cluster_, job_, layout, stage));
    return peak;
  }
  for (const Stage& stage : stages_that_peak(model_, layout)) {
    const Sort sort = sort_of(layout, stage);
    select(sort);
    price_memory(cost_, sort, estimate);
    peak = std::max(peak, estimate.peak_allocated);
  }
  return peak;
}

void EstimateTables::price(std::span<const Layout> layouts, std::span<QuickEstimate> estimates) {
  order_.clear();
  for (std::size_t i = 0; i < layouts.size(); ++i) {
    if (!can_be_shortened(model_, layouts[i]) || is_pipeline(layouts[i])) {
      estimates[i] = price(layouts[i]);
    } else {
      order_.push_back(sort_of(layouts[i], stage_at(model_, layouts[i], 0)));
      order_.back().layout = static_cast<std::uint32_t>(i);
    }
  }
  std::sort(order_.begin(), order_.end(), [](const Sort& a, const Sort& b) {
    return std::pair(a.costs, a.program) < std::pair(b.costs, b.program);
  });
  for (std::size_t i = 0; i < order_.size(); ++i) {
    const Sort& sort = order_[i];
    select(sort);
    if (i + kAhead < order_.size()) prefetch(estimates[order_[i + kAhead].layout]);
    QuickEstimate& estimate = estimates[sort.layout];
    price(cost_, sort, estimate);
    estimate.step_time = common::Seconds(cost_.step_time_of_many(sort.growth));
  }
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
  const auto stages_without = [&](std::int64_t rounds) {
    std::vector<TimedPlayer> players;
    players.reserve(stages_.size());
    for (std::size_t s = 0; s < stages_.size(); ++s) {
      Growth growth = stages_[s].growth;
      growth[kRegions + kInTurn] -= rounds;
      players.push_back(pipeline_[cost_of_stage_[s]].player(growth));
    }
    return players;
  };
  return play_rounds(std::ssize(stages_), layout.accumulation, stages_without).end();
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
                   stage.blocks * 4 + place_of(stage)};
  const auto [found, is_new] =
      costs_index_.try_emplace(key, static_cast<std::uint32_t>(costs_.size()));
  if (is_new) {
    costs_.emplace_back(make_step_context(model_, job_, layout, cluster_.device.kind, stage.index));
  }
  return found->second;
}

std::uint32_t EstimateTables::program_of(const Layout& layout, const Stage& stage,
                                         const ProgramLengths& lengths) {
  const AxisSizes& sizes = layout.mesh.sizes;
  const auto& [regions, runs] = shortened(lengths);
  const Key key = {regions.blocks[0],
                   regions.blocks[1],
                   regions.blocks[2],
                   regions.overlap,
                   runs[0],
                   runs[1],
                   static_cast<std::int64_t>(layout.activation_checkpointing),
                   static_cast<std::int64_t>(without_replicas(layout.sharding)) * 2 +
                       static_cast<std::int64_t>(layout.gradient_accumulation),
                   (layout.sequence_parallel ? 8 : 0) + (sizes[Axis::kTp] > 1 ? 4 : 0) +
                       (sharding_ranks(layout.mesh) > 1 ? 2 : 0) +
                       (sizes[Axis::kDpReplicate] > 1 ? 1 : 0),
                   layout.mesh.expert_parallel > 1,
                   place_of(stage)};
  const auto [found, is_new] =
      program_index_.try_emplace(key, static_cast<std::uint32_t>(programs_.size()));
  if (is_new) {
    Program program{short_program(model_, job_, layout, stage), {}};
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

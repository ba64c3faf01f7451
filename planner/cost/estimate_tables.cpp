#include "planner/cost/estimate_tables.h"

#include <utility>

#include "planner/cost/estimate.h"
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

/// Whether the instruction works on the whole model at once.
bool is_of_whole_model(Opcode opcode) {
  return opcode == Opcode::kGradientNorm || opcode == Opcode::kClipGradients ||
         opcode == Opcode::kOptimizerStep;
}

/// A cost, and of the whole model that with a block more.
struct KnownCost {
  InstructionCost cost;
  InstructionCost of_longer;
};

}  // namespace

/// Layouts that differ in regions and microbatches alone.
struct EstimateTables::Family {
  StepContext context;
  HeldMemory held;
  /// By kind of instruction, as an instruction of it.
  std::vector<std::pair<Instruction, std::unique_ptr<KnownCost>>> costs;
  /// By the program's shape; more than one where compute waits for different collectives.
  Table<std::vector<LayoutTable>> tables;

  KindCost cost_of(const ClusterSpec& cluster, const Instruction& kind) {
    const bool whole = is_of_whole_model(kind.opcode);
    for (const auto& [instruction, known] : costs) {
      if (expand_alike(context, instruction, kind))
        return {&known->cost, whole ? &known->of_longer : nullptr};
    }
    auto known = std::make_unique<KnownCost>();
    known->cost = price_instruction(context, cluster, kind).cost;
    if (whole) {
      StepContext longer = context;
      ++longer.stage.blocks;
      known->of_longer = price_instruction(longer, cluster, kind).cost;
    }
    costs.emplace_back(kind, std::move(known));
    return {&costs.back().second->cost, whole ? &costs.back().second->of_longer : nullptr};
  }
};

EstimateTables::EstimateTables(const ModelSpec& model, const ClusterSpec& cluster, const Job& job)
    : model_(model), cluster_(cluster), job_(job) {}
EstimateTables::EstimateTables(EstimateTables&&) noexcept = default;
EstimateTables::~EstimateTables() = default;

QuickEstimate EstimateTables::price(const Layout& layout) {
  // A pipeline's stages wait for one another, which no table has.
  if (layout.mesh.sizes[Axis::kPp] > 1) return played(model_, cluster_, job_, layout);
  const Regions regions = regions_of(model_, layout);
  const Regions cut = shortened(regions);
  const Key shape = {cut.blocks[0],
                     cut.blocks[1],
                     cut.blocks[2],
                     cut.overlap,
                     shortened(layout.accumulation),
                     static_cast<std::int64_t>(layout.activation_checkpointing),
                     0,
                     0};
  Family& family = family_of(layout);
  std::vector<LayoutTable>& tables = family.tables[shape];
  for (const LayoutTable& table : tables) {
    if (const auto priced = table.price(regions, layout.accumulation)) return *priced;
  }
  const TableProgram& program = program_of(layout, shape);
  std::vector<KindCost> costs;
  for (const Instruction& kind : program.shape.kinds)
    costs.push_back(family.cost_of(cluster_, kind));
  tables.emplace_back(regions, layout.accumulation, program, costs, family.held);
  if (const auto priced = tables.back().price(regions, layout.accumulation)) return *priced;
  tables.pop_back();
  return played(model_, cluster_, job_, layout);
}

EstimateTables::Family& EstimateTables::family_of(const Layout& layout) {
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
  if (const auto found = families_.find(key); found != families_.end()) return found->second;
  StepContext context = make_step_context(model_, job_, layout, cluster_.device.kind);
  context.model.num_hidden_layers = 1;
  context.stage.blocks = 0;
  const HeldMemory held = held_memory(context);
  return families_
      .emplace(key, Family{.context = std::move(context), .held = held, .costs = {}, .tables = {}})
      .first->second;
}

const TableProgram& EstimateTables::program_of(const Layout& layout, const Key& shape) {
  const AxisSizes& sizes = layout.mesh.sizes;
  Key key = shape;
  key[6] = static_cast<std::int64_t>(without_replicas(layout.sharding)) * 2 +
           static_cast<std::int64_t>(layout.gradient_accumulation);
  key[7] = (layout.sequence_parallel ? 8 : 0) + (sizes[Axis::kTp] > 1 ? 4 : 0) +
           (sharding_ranks(layout.mesh) > 1 ? 2 : 0) + (sizes[Axis::kDpReplicate] > 1 ? 1 : 0);
  if (const auto found = programs_.find(key); found != programs_.end()) return found->second;
  return programs_.emplace(key, table_program(model_, job_, layout)).first->second;
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

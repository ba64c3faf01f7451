#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <span>
#include <unordered_map>
#include <vector>

#include "planner/cluster/cluster_spec.h"
#include "planner/cost/memory_breakdown.h"
#include "planner/cost/short_program.h"
#include "planner/cost/stage_costs.h"

namespace meshplan::planner {

/// The step of a layout as far as layouts are compared by it.
struct QuickEstimate {
  /// Composition of the peak of allocated memory.
  MemoryBreakdown peak;
  common::Bytes peak_allocated;
  /// `time` and `exposed` are left 0.
  Traffic traffic{};
  common::Seconds step_time;
};

/// Prices many layouts of one job: what they have in common is worked out when the first of its
/// sort is priced, and used for all others.
class EstimateTables {
 public:
  EstimateTables(const ModelSpec& model, const ClusterSpec& cluster, const Job& job);

  /// Memory, traffic and step time that estimate() gives. Requires a layout without violations.
  /// Allocates nothing once layouts of the same sort have been priced, but for a pipeline, whose
  /// stages are played beside each other.
  QuickEstimate price(const Layout& layout);

  /// Its peak of allocated memory alone, which takes a fraction of the time; and that of one of its
  /// stages.
  common::Bytes peak_allocated(const Layout& layout);
  common::Bytes peak_allocated(const Layout& layout, const Stage& stage);

  /// The price of each layout, in the same place of `estimates`; times may be rounded otherwise
  /// than in the price of one. Those of a sort are priced one after the other, wherever they stand.
  /// Requires as many estimates as layouts, fewer than 2^32.
  void price(std::span<const Layout> layouts, std::span<QuickEstimate> estimates);

 private:
  /// Numbers that tell sorts apart.
  using Key = std::array<std::int64_t, 11>;
  struct KeyHash {
    std::size_t operator()(const Key& key) const;
  };
  /// Where in a list what has a key is.
  using Index = std::unordered_map<Key, std::uint32_t, KeyHash>;
  /// A program, its kinds by their number among all that programs have.
  struct Program {
    ShortProgram program;
    std::vector<std::size_t> kinds;
  };
  /// What prices a stage of a layout.
  struct Sort {
    /// By their index.
    std::uint32_t costs = 0;
    std::uint32_t program = 0;
    /// Of the program there is.
    Growth growth{};
    std::int64_t microbatches = 0;
    /// Among the layouts that are priced together.
    std::uint32_t layout = 0;

    bool has_cost_of(const Sort& other) const {
      return costs == other.costs && program == other.program;
    }
  };

  /// What sorts are put in order by, and where in their list it stands.
  struct Place {
    std::uint32_t costs = 0;
    std::uint32_t program = 0;
    std::uint32_t index = 0;
  };

  Sort sort_of(const Layout& layout, const Stage& stage);
  /// Leaves the place of each of sorts_ in order_, those with the same cost beside each other.
  void put_in_order();
  std::uint32_t costs_of(const Layout& layout, const Stage& stage);
  std::uint32_t program_of(const Layout& layout, const Stage& stage, const ProgramLengths& lengths);
  std::uint32_t whole_program_of(const Layout& layout, const Stage& stage);
  void add_program(ShortProgram program);
  std::size_t number_of(const Instruction& kind);

  /// Works out what the sort's kinds of instruction cost.
  void learn(const Sort& sort);
  void set(ProgramCost& cost, const Sort& sort);
  /// Sets cost_, unless it is that already.
  void select(const Sort& sort);
  /// Of a sort whose cost is set.
  void price_memory(ProgramCost& cost, const Sort& sort, QuickEstimate& estimate) const;
  /// All but the time.
  void price(ProgramCost& cost, const Sort& sort, QuickEstimate& estimate) const;

  /// Leaves each stage's sort in stages_, and the cost of each in pipeline_, by its index.
  void set_stages(const Layout& layout);
  QuickEstimate price_pipeline(const Layout& layout);
  double pipeline_time(const Layout& layout);
  double interleaved_time(const Layout& layout);
  /// Forgets programs where they have become too many.
  void make_room();

  ModelSpec model_;
  ClusterSpec cluster_;
  Job job_;
  /// Every kind of instruction that a program has.
  std::vector<Instruction> kinds_;
  /// By what shapes programs.
  Index program_index_;
  std::vector<Program> programs_;
  /// Of all of them.
  std::size_t instructions_ = 0;
  /// By the sizes of what layouts do.
  Index costs_index_;
  std::vector<StageCosts> costs_;

  // Of what is being priced.
  std::vector<const KindCost*> kind_costs_;
  ProgramCost cost_;
  /// What cost_ is of; nothing when it may be out of date.
  std::optional<Sort> selected_;
  /// Of layouts that are priced together.
  std::vector<Sort> sorts_;
  std::vector<Place> order_;
  std::vector<Place> half_ordered_;
  std::vector<Sort> stages_;
  std::vector<std::size_t> cost_of_stage_;
  std::vector<ProgramCost> pipeline_;
};

}  // namespace meshplan::planner

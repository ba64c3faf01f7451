#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <unordered_map>
#include <vector>

#include "planner/cluster/cluster_spec.h"
#include "planner/cost/memory_breakdown.h"
#include "planner/cost/program_cost.h"
#include "planner/cost/short_program.h"

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
  EstimateTables(EstimateTables&&) noexcept;
  ~EstimateTables();

  /// Memory, traffic and step time that estimate() gives. Requires a layout without violations.
  /// Allocates nothing once layouts of the same sort have been priced, but for a pipeline, whose
  /// stages are played each time.
  QuickEstimate price(const Layout& layout);

  /// The same of each layout, in the same place of `estimates`. Those of a sort are priced one
  /// after the other, wherever they stand. Requires as many estimates as layouts, fewer than 2^32.
  void price(std::span<const Layout> layouts, std::span<QuickEstimate> estimates);

 private:
  /// Numbers that tell sorts apart.
  using Key = std::array<std::int64_t, 8>;
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
  struct Family;
  /// What prices a layout.
  struct Sort {
    /// By their index.
    std::uint32_t family = 0;
    std::uint32_t program = 0;
    /// Among the layouts that are priced together.
    std::uint32_t layout = 0;
    Growth growth{};
  };

  Sort sort_of(const Layout& layout);
  std::uint32_t family_of(const Layout& layout);
  std::uint32_t program_of(const Layout& layout, const Regions& regions);
  std::size_t number_of(const Instruction& kind);

  /// Leaves the costs of the program's kinds in cost_.
  void select_costs(const Sort& sort);
  /// Of a layout whose costs are selected.
  void price_selected(const Sort& sort, QuickEstimate& estimate);

  ModelSpec model_;
  ClusterSpec cluster_;
  Job job_;
  /// Every kind of instruction that a program has.
  std::vector<Instruction> kinds_;
  /// By what shapes programs.
  Index program_index_;
  std::vector<Program> programs_;
  /// By the sizes of what layouts do.
  Index family_index_;
  std::vector<Family> families_;

  /// Of the sort that is being priced.
  std::vector<const KindCost*> kind_costs_;
  ProgramCost cost_;
  std::vector<Sort> order_;
};

}  // namespace meshplan::planner

#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <vector>

#include "planner/cluster/cluster_spec.h"
#include "planner/cost/form_clock.h"
#include "planner/cost/memory_breakdown.h"
#include "planner/cost/traffic.h"
#include "planner/layout/layout.h"
#include "planner/model/model_spec.h"

namespace meshplan::planner {

/// Blocks in a row that are treated alike: checkpointed or not, kept gathered or not.
struct Regions {
  /// Whether checkpointed blocks reach into those that are kept gathered.
  bool overlap = false;
  std::array<std::int64_t, kRegions> blocks{};

  bool operator==(const Regions&) const = default;
};
Regions regions_of(const ModelSpec& model, const Layout& layout);

/// The step of a layout as far as layouts are compared by it.
struct QuickEstimate {
  /// Composition of the peak of allocated memory.
  MemoryBreakdown peak;
  common::Bytes peak_allocated;
  /// `time` and `exposed` are left 0.
  Traffic traffic{};
  common::Seconds step_time;
};

/// The shortest layout that has the same kinds of instruction in the same order: its regions and
/// microbatches are cut to lengths at which they are long.
Regions shortened(const Regions& regions);
std::int64_t shortened(std::int64_t microbatches);

/// The program of a layout shortened, with what each of its repetitions varies with.
struct TableProgram {
  Regions regions;
  std::int64_t microbatches;
  /// Its kinds are instructions on a model of one block.
  ProgramShape shape;
  /// Whether all that varies is repeated often enough to be extrapolated.
  bool long_enough = true;
};
TableProgram table_program(const ModelSpec& model, const Job& job, const Layout& layout);

/// What the step holds all through, as far as it depends on the model's length and the
/// microbatches.
struct HeldMemory {
  MemoryBreakdown without_blocks{};
  MemoryBreakdown per_block{};
  MemoryBreakdown per_microbatch{};
};
HeldMemory held_memory(const StepContext& context);

/// What all layouts have in common that differ from one another in the lengths of long regions and
/// in the number of many microbatches. Their programs repeat the same segments more or less often,
/// so that memory, traffic and, as long as compute waits for the same collectives, time are linear
/// forms in these numbers.
class LayoutTable {
 public:
  /// For a layout of these regions and microbatches, whose program shortened is `program`. `costs`
  /// are by kind; those of work on the whole model leave its blocks out.
  LayoutTable(const Regions& regions, std::int64_t microbatches, const TableProgram& program,
              const std::vector<KindCost>& costs, const HeldMemory& held);

  /// The estimate of a layout of this table; nothing where compute waits for other collectives than
  /// in the layout that the table was made for. Allocates nothing.
  std::optional<QuickEstimate> price(const Regions& regions, std::int64_t microbatches) const;

 private:
  using Bytes = Form<std::int64_t>;
  using Time = Form<double>;

  struct Peak {
    Bytes total;
    std::array<Bytes, kMemoryClasses> breakdown;
  };
  struct AxisForms {
    Bytes bytes;
    Bytes wire_bytes;
    Bytes operations;
  };

  /// The shortest layout of the table, which memory and traffic are counted from.
  Variation shortest_;
  /// The layout that the table was made for, whose waits times rest on.
  Variation made_for_;
  /// Each is the peak of some of the layouts.
  std::vector<Peak> peaks_;
  std::array<AxisForms, kAxes.size()> traffic_;
  Time step_;
  /// Forms that are not negative as long as the table holds.
  std::vector<Time> margins_;
  bool holds_ = true;

  friend class TableMaker;
};

}  // namespace meshplan::planner

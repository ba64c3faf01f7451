#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <vector>

#include "planner/cluster/cluster_spec.h"
#include "planner/cost/form.h"
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

/// What all layouts have in common that differ from one another in the lengths of long regions and
/// in the number of many microbatches. Their programs repeat the same segments more or less often,
/// so that memory, traffic and, as long as compute waits for the same collectives, time are linear
/// forms in these numbers.
class LayoutTable {
 public:
  /// Requires a layout without violations and without a pipeline.
  LayoutTable(const ModelSpec& model, const ClusterSpec& cluster, const Job& job,
              const Layout& layout);

  /// The estimate of a layout of this table; nothing where compute waits for other collectives than
  /// in the table, so that the layout has to be played itself. Allocates nothing.
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

  /// What the table was made from.
  std::array<std::int64_t, kRegions> blocks_;
  std::int64_t microbatches_;
  /// Each is the peak of some of the layouts.
  std::vector<Peak> peaks_;
  std::array<AxisForms, kAxes.size()> traffic_;
  Time step_;
  /// Forms that are not negative as long as the table holds.
  std::vector<Time> margins_;
  bool holds_ = true;

  friend class TableMaker;
};

/// The layout's regions and microbatches cut to lengths at which they are long: layouts with equal
/// ones share a table.
Regions shortened(const Regions& regions);
std::int64_t shortened(std::int64_t microbatches);

}  // namespace meshplan::planner

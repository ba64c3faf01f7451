#pragma once

#include <array>
#include <optional>
#include <vector>

#include "planner/cost/memory_breakdown.h"
#include "planner/cost/price.h"
#include "planner/cost/traffic.h"
#include "planner/program/operation.h"

namespace meshplan::planner {

struct PricedOperation {
  Operation operation;
  Price price;
};
using PricedOperations = std::vector<PricedOperation>;

/// Work on the compute stream: kernels, and what of collectives it stands still for or is taken by.
struct ComputeTime {
  /// Kernels and all that is exposed.
  common::Seconds total;
  common::Seconds kernels;
  /// Indexed by Axis.
  std::array<common::Seconds, kAxes.size()> exposed{};
};

/// A collective, or two in a row, that goes on beside the instructions after its own; `axis` is the
/// last one's.
struct IssuedCollective {
  Stream stream;
  Axis axis;
  common::Seconds duration;
  /// Time that it takes from compute meanwhile.
  common::Seconds taken;
  /// Whether the instruction waits for it all the same.
  bool awaited = false;
};

/// An instruction's operations, added up. Collectives over tp, cp and ep, which it waits for
/// itself, are part of its compute time; one other, or one right after another on the same stream,
/// may be issued after `before`.
struct InstructionCost {
  ComputeTime before;
  std::optional<IssuedCollective> issued;
  ComputeTime after;

  /// What is held afterwards beside what was held before, and at the moment when most was.
  MemoryBreakdown net{};
  MemoryBreakdown peak{};
  common::Bytes net_total;
  common::Bytes peak_total;

  /// `exposed` is left 0.
  Traffic traffic{};
  common::Flops flops;
};

/// Adds up the priced operations of an instruction on this mesh.
InstructionCost add_up(const DeviceMesh& mesh, const PricedOperations& operations);

}  // namespace meshplan::planner

#pragma once

#include <array>
#include <cstdint>

#include "planner/cluster/cluster_spec.h"
#include "planner/layout/layout.h"
#include "planner/model/flat_layout.h"
#include "planner/model/model_spec.h"

namespace meshplan::planner {

/// Sizes of one unit's flat buffer on one rank.
struct UnitSizes {
  std::int64_t elements = 0;
  std::int64_t shard_elements = 0;
  /// The run of q and k norm gradients, which tp reduces; empty without qk_norm.
  FlatRange replicated_gradients{0, 0};
};

/// All that the operations of a step depend on, with the sizes worked out once.
struct StepContext {
  ModelSpec model;
  Job job;
  Layout layout;
  DeviceKind device = DeviceKind::kGpu;

  UnitSizes embedding;
  UnitSizes block;
  UnitSizes head;

  /// Sizes as one rank has them: heads, key-value heads, intermediate and vocabulary rows divided
  /// by tp.
  std::int64_t tokens = 0;
  std::int64_t heads = 0;
  std::int64_t kv_heads = 0;
  std::int64_t intermediate = 0;
  std::int64_t vocab_rows = 0;
  /// Bytes of an element of param_dtype and of reduce_dtype.
  std::int64_t param_size = 4;
  std::int64_t reduce_size = 4;

  /// Whether a gathered copy exists at all: not when one rank holds the whole unit in param_dtype
  /// already.
  bool gathers_copy() const;
  /// Sizes of the unit with this index.
  const UnitSizes& sizes_of(std::int64_t unit) const;
};

/// Requires a layout without violations. Throws kInvalidInput when a size does not fit 63 bits.
StepContext make_step_context(const ModelSpec& model, const Job& job, const Layout& layout,
                              DeviceKind device);

/// The flat layout that the context's sizes come from: the executor places its parameters by it.
FlatLayout flat_layout_of(const StepContext& context, std::int64_t unit);

}  // namespace meshplan::planner

#pragma once

#include <array>
#include <cstdint>

#include "planner/cluster/cluster_spec.h"
#include "planner/layout/layout.h"
#include "planner/layout/stage.h"
#include "planner/model/flat_layout.h"
#include "planner/model/model_spec.h"

namespace meshplan::planner {

/// Sizes of one unit's parameters on one rank: of its flat buffer, or of two, one after the other,
/// where experts are shared out and so belong to fewer ranks.
struct UnitSizes {
  std::int64_t elements = 0;
  std::int64_t shard_elements = 0;
  /// The part of both that is the second buffer's.
  std::int64_t expert_elements = 0;
  std::int64_t expert_shard_elements = 0;
  /// The run of gradients that tp reduces: all that tp replicates under sequence parallelism,
  /// otherwise those of the q and k norms; empty where there are none.
  FlatRange replicated_gradients{0, 0};
  /// The same of the router and the shared expert's gate, where they are not in that run: each rank
  /// computes their gradients from its columns of the experts.
  FlatRange router_gradients{0, 0};
};

/// A rank's part of a block's mixture of experts, for one microbatch. Routing is taken to be
/// balanced: every expert is given as many rows, a row being a token on its way to one expert.
struct ExpertSizes {
  /// Tokens times experts_per_token: those that the rank sends, and those that its experts take.
  std::int64_t rows = 0;
  /// Experts that the rank holds, the width of each, and of the shared expert.
  std::int64_t experts = 0;
  std::int64_t intermediate = 0;
  std::int64_t shared_intermediate = 0;
};

/// What computations read parameters from. kNone: the slice, which is whole and in param_dtype.
/// kGathered: a copy between gather and release. kPersistent: a copy that is always there, and
/// filled again by a gather.
enum class ParameterCopy { kNone, kGathered, kPersistent };

/// All that the operations of a step depend on, with the sizes worked out once.
struct StepContext {
  /// As its stages hold it.
  ModelSpec model;
  Job job;
  Layout layout;
  DeviceKind device = DeviceKind::kGpu;
  /// The pipeline stage whose ranks this is about.
  Stage stage;

  /// Of the feed-forward demo: w1, w3 and w2.
  UnitSizes embedding;
  UnitSizes block;
  UnitSizes head;
  /// Of blocks unlike the model's first one, which have experts where that has none, or none where
  /// it has.
  UnitSizes other_block;

  /// Sizes as one rank has them: heads, key-value heads, intermediate and vocabulary rows divided
  /// by tp.
  std::int64_t tokens = 0;
  /// Tokens of the residual stream: a share of them under sequence parallelism.
  std::int64_t residual_tokens = 0;
  std::int64_t heads = 0;
  std::int64_t kv_heads = 0;
  std::int64_t intermediate = 0;
  std::int64_t vocab_rows = 0;
  ExpertSizes experts;
  /// Part of causal attention that sliding windows leave, on average over the blocks.
  double attention_share = 1;
  /// Bytes of an element of param_dtype, reduce_dtype, master_dtype and moment_dtype.
  std::int64_t param_size = 4;
  std::int64_t reduce_size = 4;
  std::int64_t master_size = 4;
  std::int64_t moment_size = 4;

  ParameterCopy parameter_copy() const;
  /// Whether the master slice lies in the persistent copy.
  bool master_in_copy() const;
  /// Whether the residual stream is split by tokens over tp.
  bool splits_tokens() const;
  /// Whether the stage holds final norm and head in a unit of their own.
  bool has_head_unit() const { return stage.is_last() && !model.tie_word_embeddings; }
  /// Sizes of the unit with this index.
  const UnitSizes& sizes_of(std::int64_t unit) const;
  /// The same by the block's index in the model.
  const UnitSizes& sizes_of_block(std::int64_t index) const;
};

/// The model with units of its own for embedding and head where stages divide them: each holds a
/// tied weight, and their gradients are summed.
ModelSpec as_stages_hold_it(const ModelSpec& model, const Layout& layout);

/// Requires a layout without violations. Throws kInvalidInput when a size does not fit 63 bits.
StepContext make_step_context(const ModelSpec& model, const Job& job, const Layout& layout,
                              DeviceKind device, std::int64_t stage = 0);

/// The flat layout that the context's sizes come from: the executor places its parameters by it.
/// Requires that no experts are shared out.
FlatLayout flat_layout_of(const StepContext& context, std::int64_t unit);

}  // namespace meshplan::planner

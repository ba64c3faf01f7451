#pragma once

#include "executor/layers/block_weights.h"
#include "executor/layers/head_loss.h"
#include "planner/model/flat_layout.h"

namespace meshplan::executor {

/// A block's parameters as views of its unit's flat buffer [elements]: q, k and v as one matrix,
/// gate and up as one. Works for gathered parameters and for gradients alike.
BlockWeights block_weights(const planner::FlatLayout& flat, const at::Tensor& buffer);

/// The head's, which are the embedding's weight where they are tied.
HeadWeights head_weights(const planner::FlatLayout& flat, const at::Tensor& buffer);

/// The embedding's weight [V_local, h].
at::Tensor embedding_weight(const planner::FlatLayout& flat, const at::Tensor& buffer);

/// The weight of a unit that has one parameter.
at::Tensor only_weight(const planner::FlatLayout& flat, const at::Tensor& buffer);

}  // namespace meshplan::executor

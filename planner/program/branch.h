#pragma once

#include <memory>

#include "planner/program/operation_list.h"
#include "planner/program/step_context.h"

namespace meshplan::planner {

/// Attention, a feed-forward, or a mixture of experts in its place: what a block does between
/// reading its input, whole on every rank, and writing a row-parallel product [T, h]. One object
/// expands one forward or one backward pass, its functions called in their order here.
class Branch {
 public:
  virtual ~Branch() = default;

  // Forward.
  /// What is computed from the input, which may die then.
  virtual void read(OperationList& list) = 0;
  /// From there to what the product is made of. Frees what `drop` says of the saved list.
  virtual void run(OperationList& list, const Recompute& drop) = 0;
  /// Writes the product, or adds to it.
  virtual void write(OperationList& list) = 0;
  /// Frees what is left of the saved list.
  virtual void forget(OperationList& list) = 0;

  // Backward, the gradient of the product being there, whole on every rank.
  /// With the input at hand: computes what the forward pass dropped of the saved list, under `full`
  /// up to what the product is made of.
  virtual void recompute(OperationList& list) = 0;
  virtual void bias_gradient(OperationList& list) = 0;
  /// What reads the gradient of the product, which may die then.
  virtual void output_gradients(OperationList& list) = 0;
  /// From there to the gradient of what was read.
  virtual void run_backward(OperationList& list) = 0;
  /// Writes the gradient of the input [T, h], the rank's part of the sum over tp, or adds to it.
  virtual void input_gradient(OperationList& list) = 0;
  /// With the input at hand, or computed once more.
  virtual void weight_gradients(OperationList& list) = 0;
  virtual void free_saved(OperationList& list) = 0;
};

/// `recompute` is what the block's forward pass drops.
std::unique_ptr<Branch> make_attention(const StepContext& context, const Recompute& recompute);
std::unique_ptr<Branch> make_feed_forward(const StepContext& context);
std::unique_ptr<Branch> make_experts(const StepContext& context, const Recompute& recompute);

}  // namespace meshplan::planner

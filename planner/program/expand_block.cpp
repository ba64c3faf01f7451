#include <array>
#include <initializer_list>
#include <span>

#include "planner/model/parameter_table.h"
#include "planner/program/block_parts.h"
#include "planner/program/branch.h"
#include "planner/program/expand_compute.h"

namespace meshplan::planner {
namespace {

using enum MemoryClass;

/// A branch of a block with what is around it.
struct Half {
  std::unique_ptr<Branch> branch;
  LayerInput input;
  /// Names of its product, of that product's norm and of the sum with the residual stream.
  const char* product;
  const char* output_norm;
  const char* residual;
  const char* input_gradient;
};

struct Block {
  Half attention;
  Half feed_forward;
  /// A norm of each product before, or after, it is added to the residual stream.
  bool norms_output;
};

Block make_block(const StepContext& c, const Instruction& instruction) {
  const Recompute& recompute = instruction.recompute;
  const bool normed = c.model.norm_placement != NormPlacement::kAfter;
  const bool moe = is_moe_block(c.model, instruction.unit - block_unit(c.model, 0));
  return {
      .attention = {.branch = make_attention(c, recompute),
                    .input = {"input_norm", "input_norm backward", "input norm statistics", normed},
                    .product = "attention_output",
                    .output_norm = "attention_output_norm",
                    .residual = "attention_residual",
                    .input_gradient = "qkv input gradient"},
      .feed_forward = {.branch = moe ? make_experts(c, recompute) : make_feed_forward(c),
                       .input = {"post_attention_norm", "post_attention_norm backward",
                                 "post-attention norm statistics", normed},
                       .product = "down",
                       .output_norm = "feed_forward_output_norm",
                       .residual = "mlp_residual",
                       .input_gradient = "gate_up input gradient"},
      .norms_output = c.model.norm_placement != NormPlacement::kBefore};
}

/// Expands the passes of one block.
class BlockExpansion {
 public:
  BlockExpansion(OperationList& list, const StepContext& context, const Instruction& instruction)
      : list_(list),
        c_(context),
        a_(activation_sizes(context)),
        recompute_(instruction.recompute),
        block_(make_block(context, instruction)),
        unit_elements_(context.sizes_of(instruction.unit).elements) {}

  void forward() {
    if (c_.model.parallel_residual) return forward_parallel();
    forward_half(block_.attention, recompute_);
    forward_half(block_.feed_forward, recompute_);
    if (!recompute_.attention) return;
    list_.free("attention residual", kActivations, a_.residual);
    block_.feed_forward.input.forget_statistics(list_, c_);
  }

  void backward() {
    list_.allocate("unit gradient", kGradients, unit_elements_ * c_.param_size);
    if (c_.model.parallel_residual) return backward_parallel();
    if (recompute_.attention) forward_half(block_.attention, {});
    backward_half(block_.feed_forward, recompute_.gate_up, recompute_.attention);
    // With the whole half computed again, qkv has been kept.
    backward_half(block_.attention, recompute_.qkv && !recompute_.attention, false);
  }

 private:
  RowSum sum_of(const char* product, MemoryClass memory) const {
    return {product, memory, c_.model.hidden_size};
  }

  /// From the residual stream to the residual stream; keeps what `drop` leaves. Under full
  /// recomputation the first half keeps nothing, and the second what the caller frees.
  void forward_half(Half& half, const Recompute& drop) {
    half.input.save_statistics(list_, c_);
    half.input.read(list_, c_);
    half.branch->read(list_);
    half.input.release(list_, c_);
    half.branch->run(list_, drop);
    const RowSum sum = sum_of(half.product, kActivations);
    sum.allocate_product(list_, c_);
    half.branch->write(list_);
    if (drop.attention) {
      half.branch->forget(list_);
      if (&half == &block_.attention) half.input.forget_statistics(list_, c_);
    }
    sum.issue(list_, c_);
    sum.finish(list_, c_);
    add_to_residual(half, drop.attention);
  }

  /// In place of the product, or beside it where that is an input of its norm.
  void add_to_residual(const Half& half, bool forgets) {
    if (block_.norms_output) {
      save_output_norm(half);
      list_.allocate("residual stream", kActivations, a_.residual);
    }
    list_.elementwise(half.residual, 3 * a_.residual);
    if (block_.norms_output && forgets) free_output_norm();
  }

  void save_output_norm(const Half& half) {
    list_.allocate("output norm statistics", kActivations, a_.norm_statistics);
    list_.elementwise(half.output_norm, 2 * a_.residual);
  }

  void free_output_norm() {
    list_.free("output norm input", kActivations, a_.residual);
    list_.free("output norm statistics", kActivations, a_.norm_statistics);
  }

  /// One sum for both products.
  void forward_parallel() {
    Half& attention = block_.attention;
    Half& feed_forward = block_.feed_forward;
    const bool shared = c_.model.shared_norm;
    attention.input.save_statistics(list_, c_);
    attention.input.read(list_, c_);
    attention.branch->read(list_);
    if (!shared) attention.input.release(list_, c_);
    attention.branch->run(list_, recompute_);
    if (!shared) {
      feed_forward.input.save_statistics(list_, c_);
      feed_forward.input.read(list_, c_);
    }
    feed_forward.branch->read(list_);
    feed_forward.input.release(list_, c_);
    feed_forward.branch->run(list_, recompute_);
    const RowSum sum = sum_of("attention_output and down", kActivations);
    sum.allocate_product(list_, c_);
    for (Half* half : {&attention, &feed_forward}) {
      half->branch->write(list_);
      if (!recompute_.attention) continue;
      half->branch->forget(list_);
      if (half == &attention || !shared) half->input.forget_statistics(list_, c_);
    }
    sum.issue(list_, c_);
    sum.finish(list_, c_);
    list_.elementwise("block_residual", 3 * a_.residual);
  }

  /// `recomputes`: what the branch dropped is computed again; `whole`: its statistics, and with a
  /// norm of its product that, too.
  void backward_half(Half& half, bool recomputes, bool whole) {
    const bool replays = whole && block_.norms_output;
    if (replays) replay(half);
    if (block_.norms_output) {
      list_.allocate("output gradient", kTemporaries, a_.residual);
      list_.elementwise("output norm backward", 3 * a_.residual);
      free_output_norm();
    }
    half.branch->bias_gradient(list_);
    gather_gradient(list_, c_, c_.model.hidden_size);
    if (recomputes && !replays) {
      if (whole) half.input.save_statistics(list_, c_);
      half.input.read(list_, c_);
      half.branch->recompute(list_);
    }
    const std::int32_t prefetched = recomputes ? kNoOperation : half.input.prefetch(list_, c_);
    half.branch->output_gradients(list_);
    free_gathered_gradient(list_, c_, c_.model.hidden_size);
    if (block_.norms_output) list_.free("output gradient", kTemporaries, a_.residual);
    half.branch->run_backward(list_);
    differentiate_input(half, std::array{half.branch.get()}, recomputes, prefetched);
    list_.free("norm input", kActivations, a_.residual);
    half.input.forget_statistics(list_, c_);
  }

  /// The forward pass up to the product and its norm, with the input left at hand.
  void replay(Half& half) {
    half.input.save_statistics(list_, c_);
    half.input.read(list_, c_);
    half.branch->read(list_);
    half.branch->run(list_, {});
    const RowSum sum = sum_of(half.product, kActivations);
    sum.allocate_product(list_, c_);
    half.branch->write(list_);
    sum.issue(list_, c_);
    sum.finish(list_, c_);
    save_output_norm(half);
  }

  /// With the gradients of what the branches read from their common input: the input's, which is
  /// added to that of the residual stream, and the weights'.
  void differentiate_input(const Half& half, std::span<Branch* const> branches, bool at_hand,
                           std::int32_t prefetched) {
    const RowSum sum = sum_of(half.input_gradient, kTemporaries);
    sum.allocate_product(list_, c_);
    for (Branch* branch : branches) branch->input_gradient(list_);
    sum.issue(list_, c_);
    const std::int32_t summed = list_.last_collective();
    if (!at_hand) half.input.arrive(list_, c_, prefetched);
    for (Branch* branch : branches) branch->weight_gradients(list_);
    half.input.release(list_, c_);
    for (Branch* branch : branches) branch->free_saved(list_);
    if (has_tp(c_)) list_.join(summed);
    if (c_.splits_tokens()) list_.free(half.input_gradient, kTemporaries, a_.hidden);
    list_.elementwise(half.input.norm_backward, (half.input.normed ? 4 : 3) * a_.residual);
    list_.free("norm output gradient", kTemporaries, a_.residual);
  }

  void backward_parallel() {
    Half& attention = block_.attention;
    Half& feed_forward = block_.feed_forward;
    const bool shared = c_.model.shared_norm;
    const bool recomputes = recompute_.gate_up;
    attention.branch->bias_gradient(list_);
    feed_forward.branch->bias_gradient(list_);
    gather_gradient(list_, c_, c_.model.hidden_size);
    if (recomputes) {
      for (Half* half : {&attention, &feed_forward}) {
        if (half == &attention || !shared) reread(*half);
        half->branch->recompute(list_);
      }
    }
    std::int32_t prefetched = recomputes ? kNoOperation : feed_forward.input.prefetch(list_, c_);
    feed_forward.branch->output_gradients(list_);
    attention.branch->output_gradients(list_);
    free_gathered_gradient(list_, c_, c_.model.hidden_size);
    feed_forward.branch->run_backward(list_);
    if (shared) {
      attention.branch->run_backward(list_);
      differentiate_input(attention, std::array{feed_forward.branch.get(), attention.branch.get()},
                          recomputes, prefetched);
    } else {
      differentiate_input(feed_forward, std::array{feed_forward.branch.get()}, recomputes,
                          prefetched);
      feed_forward.input.forget_statistics(list_, c_);
      if (!recomputes) prefetched = attention.input.prefetch(list_, c_);
      attention.branch->run_backward(list_);
      differentiate_input(attention, std::array{attention.branch.get()}, recomputes, prefetched);
    }
    list_.free("norm input", kActivations, a_.residual);
    attention.input.forget_statistics(list_, c_);
  }

  void reread(const Half& half) {
    if (recompute_.attention) half.input.save_statistics(list_, c_);
    half.input.read(list_, c_);
  }

  OperationList& list_;
  const StepContext& c_;
  ActivationSizes a_;
  Recompute recompute_;
  Block block_;
  std::int64_t unit_elements_;
};

}  // namespace

void expand_block_forward(OperationList& list, const StepContext& c,
                          const Instruction& instruction) {
  BlockExpansion(list, c, instruction).forward();
}

void expand_block_backward(OperationList& list, const StepContext& c,
                           const Instruction& instruction) {
  BlockExpansion(list, c, instruction).backward();
}

}  // namespace meshplan::planner

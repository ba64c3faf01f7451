#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "common/units.h"

namespace meshplan::planner {

/// Elements of two bytes that a block's forward pass keeps for its backward pass, per token:
/// multiples of the hidden size (1/tp of it under sequence parallelism), and of the rank's shares
/// of the query, key and value widths together, of the query width, of the feed-forward width, and
/// of the key width.
struct SavedElements {
  double hidden = 0;
  double qkv = 0;
  double attention = 0;
  double feed_forward = 0;
  double keys = 0;
};

/// How a program that trains differs from a bare list of its operations: which kernels it fuses,
/// what it keeps alive, what it hides. Values and the data behind each: docs/cost_model.md.
struct RuntimeProfile {
  const char* name;

  /// Traffic of the element-wise work of a block relative to reading each operand and writing each
  /// result once.
  double elementwise = 1;
  /// Bytes of memory traffic of the loss for each logit, forward and backward.
  double loss_bytes_per_logit = 20;
  /// Bytes of memory traffic of gradient norm and optimizer step for each parameter held.
  double optimizer_traffic_per_parameter = 30;
  /// Once a step.
  common::Seconds step_overhead{0.005};
  /// The host issues a block's forward and backward pass in no less than this; the host's work goes
  /// on beside the GPU's.
  common::Seconds block_issue_time{0.001};
  /// More of it for each rank of tp, where stages lie on several nodes; and its growth for each
  /// further node that tp spans.
  common::Seconds pipeline_issue_time{0};
  double pipeline_issue_growth = 0;
  /// What a microbatch waits for each further node that tp spans.
  common::Seconds tp_node_time{0};
  /// A message between stages on more than 256 GPUs.
  common::Seconds crowded_message_time{0};
  /// Exposed tensor-parallel collectives against the same alone: waiting for the slowest rank, and
  /// kernels that cannot start early.
  double tp_skew = 1.3;
  /// Share of the tensor-parallel collectives that asynchronous tensor parallelism hides.
  double async_tp_hidden = 0.4;
  /// Of the matrix multiplies of the backward pass that need not wait for a tensor-parallel
  /// collective, the share of the time in which it goes on; 0: every collective is waited for.
  double tp_overlap = 0;
  /// Share of the time that collectives of sharded parameters and compute run beside each other
  /// which is lost: they share memory bandwidth and multiprocessors.
  double sharding_slowdown = 0.3;
  /// Share of the last backward pass beside which replicated gradients are reduced; and whether
  /// those of ZeRO-1 are, too.
  double reduction_hidden = 0.5;
  bool zero1_reduces_after = false;
  /// Of one gradient element of sharded parameters, as it is reduced.
  double reduce_bytes = 4;

  /// Recomputation ends when the last tensor that is needed is there: before the down projection.
  bool checkpoint_stops_early = false;
  /// A pipeline cuts the microbatch of a row into one for each stage.
  bool splits_batch_over_stages = false;
  /// In a pipeline, sharded parameters are gathered and gradients reduced once a step.
  bool unsharded_in_pipeline = false;
  /// With several microbatches, sharded parameters stay gathered from forward to backward.
  bool keeps_gathered_between_microbatches = false;
  /// With states of 8 bytes a parameter (all bfloat16): logits are whole on every tp rank.
  bool pure_trainer_gathers_logits = false;
  /// Messages between stages are cut over tp and gathered within the node.
  bool scatters_sends = false;
  /// Its published runs on A100, of 2021 and 2022, are of before fused attention.
  bool unfused_attention_on_a100 = false;
  /// Blocks and output head are given to stages by their number of multiplications.
  bool balances_stages_by_cost = false;
  /// Published peaks are rank 0's, in the first stage, and not the fullest rank's.
  bool reports_rank_0 = false;
  /// Share of a block's matrix multiplies that a compiler's choice of checkpoints computes again.
  double graph_recompute = 0.3;

  SavedElements saved;
  /// What is left of it when attention and the outputs of every second matrix multiply are saved
  /// (torchtitan's "selective op"): of q, v, the first of the feed-forward block and the last. What
  /// a compiler chooses is the same, but for the last, which nothing needs.
  SavedElements saved_selective_op{2, 0, 2, 1, 1};
  SavedElements saved_selective_graph{1, 0, 2, 1, 1};
  /// A block's backward pass at work, in saved lists of a block.
  double working_blocks = 0.7;
  /// Blocks that are gathered at once; share of the embedding and output head that stays gathered.
  double gathered_blocks = 2;
  double gathered_vocabulary = 1;
  /// Blocks whose whole float32 gradients wait for their reduction.
  double reduced_blocks = 1.5;
  /// Bytes alive for each logit at the loss: computed at once, in chunks, and in trainers whose
  /// states are all bfloat16.
  double logit_bytes = 10;
  double chunked_logit_bytes = 5;
  double pure_logit_bytes = 8.5;
  /// Tensors [T, hidden] alive at the loss beside the logits.
  double head_hidden = 2;
  /// Fragments and buffers, by parameters held.
  double extra_bytes_per_parameter = 0.3;
  /// Saved for each parameter where a step has one microbatch: nothing is accumulated.
  double single_pass_saving = 0;
  /// Gathered norm outputs kept for the backward pass: multiples of the whole hidden size.
  double kept_gathered = 0;
  /// Bytes for each parameter of an embedding that is tied across stages.
  double tied_stage_bytes = 0;
  /// ZeRO-1: peak of the optimizer step, and what is not sharded, in bytes a parameter; 0: as
  /// without shards.
  double zero1_step_bytes = 0;
  double zero1_whole_bytes = 0;
  /// Weights, gradients and optimizer states where a row does not tell.
  double state_bytes_per_parameter = 16;
  /// Workspaces that do not depend on the model, in GiB.
  double fixed_gib = 0.3;
  /// The allocator's share, by rounding; and of the smaller of the loss and a block's backward
  /// pass, which finds no whole piece where the larger was.
  double reserved_over_allocated = 1.05;
  double unshared_transients = 0;
};

/// The profile of this name, or null.
const RuntimeProfile* find_runtime(std::string_view name);

/// All of them; the first is meshplan's own.
std::vector<std::string> runtime_names();

}  // namespace meshplan::planner

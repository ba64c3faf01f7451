#include "planner/runtime/peer_program.h"

#include <algorithm>

#include "common/checked.h"
#include "planner/program/operation_list.h"
#include "planner/runtime/stage_share.h"

namespace meshplan::planner {
namespace {

using common::ceil_divide;

/// All runs priced compute in 16 bits.
constexpr std::int64_t kElement = 2;

std::int64_t as_bytes(double bytes) { return static_cast<std::int64_t>(std::min(bytes, 0x1p60)); }

std::int64_t up_width(const PeerRun& run, const PeerWidths& w) {
  return run.model.gated_mlp ? 2 * w.feed_forward : w.feed_forward;
}

void forward_matmuls(OperationList& list, const PeerRun& run, bool down) {
  const PeerWidths w = peer_widths(run);
  const std::int64_t hidden = run.model.hidden_size;
  list.matmul("qkv", w.tokens, w.queries + 2 * w.keys, hidden, kElement);
  list.matmul("attention_output", w.tokens, hidden, w.queries, kElement);
  list.matmul("up", w.tokens, up_width(run, w), hidden, kElement);
  if (down) list.matmul("down", w.tokens, hidden, w.feed_forward, kElement);
}

void linear_backward(OperationList& list, std::int64_t tokens, std::int64_t out, std::int64_t in) {
  list.matmul("input gradient", tokens, in, out, kElement);
  list.matmul("weight gradient", out, in, tokens, kElement);
}

/// Whether collectives of the backward pass run beside the multiplies that do not need them.
bool overlaps_tensor_parallel(const PeerRun& run) {
  return run.runtime->tp_overlap > 0 && run.mesh.sizes[Axis::kTp] > 1;
}

/// Of a matrix split by its outputs: the input is gathered again beside the input's gradient, whose
/// sum over ranks is formed beside the weight's (Korthikanti et al. 2022, arXiv 2205.05198,
/// section 4.2.2).
void column_backward(OperationList& list, const PeerRun& run, std::int64_t out) {
  const std::int64_t tokens = peer_widths(run).tokens;
  const std::int64_t hidden = run.model.hidden_size;
  if (!overlaps_tensor_parallel(run)) return linear_backward(list, tokens, out, hidden);
  const std::int64_t bytes = kElement * tokens * hidden;
  const bool split = run.sequence_parallel;
  if (split) list.issue("input", CollectiveKind::kAllGather, Axis::kTp, bytes, Stream::kTp);
  list.matmul("input gradient", tokens, hidden, out, kElement);
  if (split) list.join();
  list.issue("input gradient's sum",
             split ? CollectiveKind::kReduceScatter : CollectiveKind::kAllReduce, Axis::kTp, bytes,
             Stream::kTp);
  list.matmul("weight gradient", out, hidden, tokens, kElement);
  list.join();
}

void backward_matmuls(OperationList& list, const PeerRun& run) {
  const PeerWidths w = peer_widths(run);
  const std::int64_t hidden = run.model.hidden_size;
  column_backward(list, run, w.queries + 2 * w.keys);
  linear_backward(list, w.tokens, hidden, w.queries);
  column_backward(list, run, up_width(run, w));
  linear_backward(list, w.tokens, hidden, w.feed_forward);
}

/// Attention that writes the scores of all pairs: two batched multiplies forward and four backward;
/// mask and softmax in one kernel, dropout in another, each with its backward (Korthikanti et al.
/// 2022, arXiv 2205.05198, section 4): 4.5 and 5.5 passes over the scores, dropout's mask a byte.
void unfused_attention(OperationList& list, const PeerRun& run, bool backward) {
  const PeerWidths w = peer_widths(run);
  const double scores = static_cast<double>(w.queries) / static_cast<double>(run.model.head_dim) *
                        static_cast<double>(w.tokens) * static_cast<double>(run.seq_length);
  const double pairs = static_cast<double>(w.tokens) * static_cast<double>(w.queries);
  Operation multiply;
  multiply.name = "scores";
  multiply.kernel = KernelKind::kMatmul;
  multiply.flops = common::Flops(2 * pairs * static_cast<double>(run.seq_length));
  multiply.bytes = common::Bytes(as_bytes(kElement * (2 * pairs + scores)));
  for (int i = 0; i < (backward ? 4 : 2); ++i) list.append(multiply);
  list.elementwise("softmax and dropout", as_bytes(kElement * (backward ? 5.5 : 4.5) * scores));
}

/// Causal attention: two matrix multiplies over half of the score matrix forward, five backward
/// (Dao 2023, arXiv 2307.08691).
void attention(OperationList& list, const PeerRun& run, bool backward) {
  if (!run.fused_attention) return unfused_attention(list, run, backward);
  const PeerWidths w = peer_widths(run);
  const double forward = 2.0 * static_cast<double>(w.tokens) * static_cast<double>(run.seq_length) *
                         static_cast<double>(w.queries);
  list.attention("attention", common::Flops(backward ? 2.5 * forward : forward), 0);
}

/// Norms, residuals, rotary positions and activation of a block, each reading its operands and
/// writing its results once, times what the runtime makes of it.
void elementwise(OperationList& list, const PeerRun& run, bool backward) {
  const PeerWidths w = peer_widths(run);
  const bool gated = run.model.gated_mlp;
  const double residual = (backward ? 14.0 : 10.0) * static_cast<double>(run.model.hidden_size) *
                          static_cast<double>(w.residual_tokens);
  const double activation = gated ? (backward ? 5.0 : 3.0) : (backward ? 3.0 : 2.0);
  const double rotary = gated ? 2.0 * static_cast<double>(w.queries + w.keys) : 0.0;
  const double inner =
      (rotary + activation * static_cast<double>(w.feed_forward)) * static_cast<double>(w.tokens);
  list.elementwise(backward ? "element-wise backward" : "element-wise",
                   as_bytes(run.runtime->elementwise * kElement * (residual + inner)));
}

template <class Emit>
RepeatedOperations repeated(double repeats, Emit emit) {
  OperationList list;
  emit(list);
  return {.operations = list.take(), .repeats = repeats};
}

/// Tensor-parallel sums and gathers of whole activations that compute waits for: `pairs` of them
/// under sequence parallelism, half as many all-reduces without.
RepeatedOperations tp_collectives(const PeerRun& run, double pairs) {
  const bool split = run.sequence_parallel;
  const std::int64_t bytes = kElement * peer_widths(run).tokens * run.model.hidden_size;
  return repeated(split ? 2 * pairs : pairs, [&](OperationList& list) {
    const auto kind = split ? CollectiveKind::kAllGather : CollectiveKind::kAllReduce;
    if (run.mesh.sizes[Axis::kTp] > 1)
      list.collective("activations", kind, Axis::kTp, bytes, Stream::kTp);
  });
}

/// Of a block's backward pass, those that nothing hides: sums or gathers of the gradients of both
/// halves' outputs and inputs, and norm outputs gathered once more.
RepeatedOperations backward_tp_collectives(const PeerRun& run) {
  const bool split = run.sequence_parallel;
  if (overlaps_tensor_parallel(run)) return tp_collectives(run, split ? 1 : 0);
  return tp_collectives(run, split ? 3 : 2);
}

/// Ring attention passes keys and values round (Liu et al. 2023, arXiv 2310.01889).
RepeatedOperations cp_passes(const PeerRun& run, double rounds) {
  const PeerWidths w = peer_widths(run);
  const std::int64_t ranks = run.mesh.sizes[Axis::kCp];
  return repeated(rounds, [&](OperationList& list) {
    if (ranks > 1)
      list.collective("keys and values", CollectiveKind::kAllGather, Axis::kCp,
                      as_bytes(2.0 * kElement * static_cast<double>(w.tokens) *
                               static_cast<double>(w.keys) * static_cast<double>(ranks)),
                      Stream::kTp);
  });
}

/// Shares of the microbatches in which a block's parameters are gathered, forward and backward, and
/// its gradient reduced.
struct ShardingRhythm {
  double forward = 0;
  double backward = 0;
  double reduce = 0;
};

ShardingRhythm sharding_rhythm(const PeerRun& run) {
  if (!shards_parameters(run)) return {};
  const double microbatches = static_cast<double>(run.accumulation);
  const bool pipelined = run.mesh.sizes[Axis::kPp] > 1;
  const bool pipeline_once = pipelined && run.runtime->unsharded_in_pipeline;
  const bool once = run.sharding == Sharding::kShardGradOp || pipeline_once;
  const bool keeps =
      run.runtime->keeps_gathered_between_microbatches && (run.accumulation > 1 || pipelined);
  return {.forward = once ? 1 / microbatches : 1,
          .backward = once || keeps ? 0.0 : 1.0,
          .reduce = pipeline_once ? 1 / microbatches : 1};
}

void reduce_sharded(OperationList& list, const PeerRun& run, double parameters) {
  const double bytes = run.runtime->reduce_bytes * parameters;
  list.issue("gradients", CollectiveKind::kReduceScatter, Axis::kDpShard, as_bytes(bytes),
             Stream::kReduce);
  if (run.mesh.sizes[Axis::kDpReplicate] > 1)
    list.issue("gradients over replicas", CollectiveKind::kAllReduce, Axis::kDpReplicate,
               as_bytes(bytes / static_cast<double>(sharding_ranks(run.mesh))), Stream::kReplicate);
}

RepeatedOperations gather_block(const PeerRun& run, double repeats) {
  return repeated(repeats, [&](OperationList& list) {
    list.issue("parameters", CollectiveKind::kAllGather, Axis::kDpShard,
               as_bytes(kElement * rank_block_parameters(run)), Stream::kGather);
  });
}

/// Shares of a block's forward pass that its backward pass computes again.
struct Recomputed {
  double matmuls = 0;
  double attention = 0;
  double elementwise = 0;
  /// Of the whole block.
  double whole = 0;
};

Recomputed recomputed(const PeerRun& run) {
  switch (run.checkpointing) {
    case PeerCheckpointing::kNone:
      return {};
    case PeerCheckpointing::kFull:
      return {.matmuls = 1, .attention = 1, .elementwise = 1, .whole = 1};
    case PeerCheckpointing::kSecondBlocks:
      return {.matmuls = 0.5, .attention = 0.5, .elementwise = 0.5, .whole = 0.5};
    case PeerCheckpointing::kSelectiveOp:
      return {.matmuls = 0.5, .elementwise = 1};
    case PeerCheckpointing::kSelectiveAttention:
      return {.attention = 1, .elementwise = 0.1};
    case PeerCheckpointing::kSelectiveGraph:
      return {.matmuls = run.runtime->graph_recompute, .elementwise = 1};
  }
  return {};
}

void add_recomputation(std::vector<RepeatedOperations>& backward, const PeerRun& run) {
  const Recomputed again = recomputed(run);
  const bool down = !(run.runtime->checkpoint_stops_early && again.whole > 0);
  backward.push_back(
      repeated(again.matmuls, [&](OperationList& list) { forward_matmuls(list, run, down); }));
  backward.push_back(
      repeated(again.attention, [&](OperationList& list) { attention(list, run, false); }));
  backward.push_back(
      repeated(again.elementwise, [&](OperationList& list) { elementwise(list, run, false); }));
  backward.push_back(tp_collectives(run, 2 * again.whole));
}

std::vector<RepeatedOperations> build_forward(const PeerRun& run) {
  return {gather_block(run, sharding_rhythm(run).forward),
          repeated(1,
                   [&](OperationList& list) {
                     forward_matmuls(list, run, true);
                     attention(list, run, false);
                     elementwise(list, run, false);
                   }),
          cp_passes(run, 1), tp_collectives(run, 2)};
}

std::vector<RepeatedOperations> build_backward(const PeerRun& run) {
  const ShardingRhythm rhythm = sharding_rhythm(run);
  std::vector<RepeatedOperations> backward = {gather_block(run, rhythm.backward)};
  add_recomputation(backward, run);
  backward.push_back(repeated(1, [&](OperationList& list) {
    backward_matmuls(list, run);
    attention(list, run, true);
    elementwise(list, run, true);
  }));
  backward.back().backward = true;
  backward.push_back(cp_passes(run, 2));
  backward.push_back(backward_tp_collectives(run));
  backward.push_back(repeated(rhythm.reduce, [&](OperationList& list) {
    reduce_sharded(list, run, rank_block_parameters(run));
  }));
  return backward;
}

/// The final norm's output is gathered, or its gradient summed, three times; a trainer that keeps
/// logits whole gathers them.
std::vector<RepeatedOperations> build_head(const PeerRun& run) {
  const PeerWidths w = peer_widths(run);
  const std::int64_t hidden = run.model.hidden_size;
  const bool tp = run.mesh.sizes[Axis::kTp] > 1;
  const bool whole = tp && run.pure() && run.runtime->pure_trainer_gathers_logits;
  const double logits = static_cast<double>(w.tokens) *
                        static_cast<double>(whole ? run.model.vocab_size : w.vocabulary);
  std::vector<RepeatedOperations> head;
  head.push_back(repeated(1, [&](OperationList& list) {
    list.matmul("output_head", w.tokens, w.vocabulary, hidden, kElement);
    linear_backward(list, w.tokens, w.vocabulary, hidden);
    list.elementwise("cross_entropy", as_bytes(run.runtime->loss_bytes_per_logit * logits));
    if (whole)
      list.collective("logits", CollectiveKind::kAllGather, Axis::kTp, as_bytes(kElement * logits),
                      Stream::kTp);
  }));
  head.push_back(tp_collectives(run, run.sequence_parallel ? 1.5 : 3));
  if (shards_parameters(run))
    head.push_back(repeated(1, [&](OperationList& list) {
      const double bytes = run.runtime->reduce_bytes * rank_embedding_parameters(run);
      list.collective("gradients", CollectiveKind::kReduceScatter, Axis::kDpShard, as_bytes(bytes),
                      Stream::kReduce);
    }));
  return head;
}

void build_step_end(PeerProgram& program, const PeerRun& run) {
  const double held = static_cast<double>(share_blocks(run).most) * rank_block_parameters(run) +
                      rank_embedding_parameters(run);
  const bool sharded = shards_parameters(run);
  const bool zero1 = run.sharding == Sharding::kShardOptimizer;
  const std::int64_t copies = data_parallel_size(run.mesh);
  constexpr double kGradient = 4;
  OperationList reduction;
  OperationList gather;
  if (!sharded && copies > 1) {
    const auto kind = zero1 ? CollectiveKind::kReduceScatter : CollectiveKind::kAllReduce;
    reduction.issue("gradients", kind, Axis::kDpReplicate, as_bytes(kGradient * held),
                    Stream::kReplicate);
    if (zero1)
      gather.collective("parameters", CollectiveKind::kAllGather, Axis::kDpReplicate,
                        as_bytes(kElement * held), Stream::kGather);
  }
  program.reduction = reduction.take();
  program.gather = gather.take();
  OperationList tied;
  if (run.model.tie_word_embeddings && run.mesh.sizes[Axis::kPp] > 1)
    tied.collective("tied embedding", CollectiveKind::kAllReduce, Axis::kPp,
                    as_bytes(kGradient * rank_embedding_parameters(run)), Stream::kReplicate);
  program.tied_gradient = tied.take();
  const double shards = sharded ? static_cast<double>(sharding_ranks(run.mesh))
                                : (zero1 ? static_cast<double>(copies) : 1);
  OperationList optimizer;
  optimizer.elementwise("optimizer",
                        as_bytes(run.runtime->optimizer_traffic_per_parameter * held / shards));
  program.optimizer = optimizer.take();
}

}  // namespace

double block_parameters(const PeerModel& model) {
  const double hidden = static_cast<double>(model.hidden_size);
  const double heads = static_cast<double>(model.num_attention_heads + model.num_key_value_heads);
  const double attention = 2 * hidden * heads * static_cast<double>(model.head_dim);
  return attention +
         (model.gated_mlp ? 3 : 2) * hidden * static_cast<double>(model.intermediate_size);
}

double parameters(const PeerModel& model) {
  const double embedding =
      static_cast<double>(model.hidden_size) * static_cast<double>(model.vocab_size);
  return static_cast<double>(model.num_hidden_layers) * block_parameters(model) +
         (model.tie_word_embeddings ? 1 : 2) * embedding;
}

PeerWidths peer_widths(const PeerRun& run) {
  const std::int64_t tp = run.mesh.sizes[Axis::kTp];
  const PeerModel& model = run.model;
  const std::int64_t tokens =
      ceil_divide(run.microbatch_size * run.seq_length, run.mesh.sizes[Axis::kCp]);
  return {.tokens = tokens,
          .queries = ceil_divide(model.num_attention_heads * model.head_dim, tp),
          .keys = ceil_divide(model.num_key_value_heads, tp) * model.head_dim,
          .feed_forward = ceil_divide(model.intermediate_size, tp),
          .vocabulary = ceil_divide(model.vocab_size, tp),
          .residual_tokens = run.sequence_parallel ? ceil_divide(tokens, tp) : tokens};
}

double rank_block_parameters(const PeerRun& run) {
  return block_parameters(run.model) / static_cast<double>(run.mesh.sizes[Axis::kTp]);
}

double rank_embedding_parameters(const PeerRun& run) {
  return static_cast<double>(run.model.hidden_size) * static_cast<double>(run.model.vocab_size) /
         static_cast<double>(run.mesh.sizes[Axis::kTp]);
}

bool shards_parameters(const PeerRun& run) {
  const Sharding sharding = without_replicas(run.sharding);
  return sharding == Sharding::kFullShard || sharding == Sharding::kShardGradOp;
}

PeerProgram build_peer_program(const PeerRun& run) {
  PeerProgram program;
  program.forward = build_forward(run);
  program.backward = build_backward(run);
  program.head = build_head(run);
  build_step_end(program, run);
  const bool cut = run.sequence_parallel || run.runtime->scatters_sends;
  program.send = common::Bytes(kElement * peer_widths(run).tokens * run.model.hidden_size /
                               (cut ? run.mesh.sizes[Axis::kTp] : 1));
  return program;
}

}  // namespace meshplan::planner

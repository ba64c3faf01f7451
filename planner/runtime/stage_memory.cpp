#include <algorithm>

#include "planner/program/operation_list.h"
#include "planner/runtime/peer_program.h"
#include "planner/runtime/stage_share.h"

namespace meshplan::planner {
namespace {

using enum MemoryClass;

constexpr double kElement = 2;

double as_double(std::int64_t value) { return static_cast<double>(value); }

/// What a rank of the stage holds.
struct Held {
  double blocks;
  double block;
  double vocabulary;

  double parameters() const { return blocks * block + vocabulary; }
};

Held held_by(const PeerRun& run, bool first_stage) {
  const PeerModel& model = run.model;
  const StageShare share = share_blocks(run);
  const double tp = as_double(run.mesh.sizes[Axis::kTp]);
  const double hidden = as_double(model.hidden_size);
  // Ranks of tp beyond the key-value heads hold copies of them, and all hold the norms.
  const double keys =
      as_double(std::max(model.num_key_value_heads, run.mesh.sizes[Axis::kTp]) * model.head_dim);
  const double queries = as_double(model.num_attention_heads * model.head_dim);
  const double inner = (model.gated_mlp ? 3 : 2) * as_double(model.intermediate_size);
  const bool one_stage = run.mesh.sizes[Axis::kPp] == 1;
  const double embedding = rank_embedding_parameters(run);
  return {.blocks = as_double(first_stage ? share.first : share.last),
          .block = hidden * (2 * queries + 2 * keys + inner) / tp + 2 * hidden,
          .vocabulary = one_stage && !model.tie_word_embeddings ? 2 * embedding : embedding};
}

/// Appends allocations, and knows what stands.
class Timeline {
 public:
  void allocate(const char* name, MemoryClass memory, double bytes) {
    const std::int64_t size = clamped(bytes);
    standing_ += size;
    list_.allocate(name, memory, size);
  }
  void free(const char* name, MemoryClass memory, double bytes) {
    const std::int64_t size = clamped(bytes);
    standing_ -= size;
    list_.free(name, memory, size);
  }
  /// Allocated and freed at once.
  void pass(const char* name, MemoryClass memory, double bytes) {
    allocate(name, memory, bytes);
    free(name, memory, bytes);
  }
  double standing() const { return as_double(standing_); }
  Operations take() { return list_.take(); }

 private:
  static std::int64_t clamped(double bytes) {
    return static_cast<std::int64_t>(std::clamp(bytes, 0.0, 0x1p56));
  }

  OperationList list_;
  std::int64_t standing_ = 0;
};

/// Of weights, gradients and optimizer: the first two of 2 bytes where the third holds masters.
struct StateBytes {
  double parameters;
  double gradients;
  double optimizer;
};

StateBytes state_bytes(const PeerRun& run) {
  const double all = run.state_bytes_per_parameter;
  const double parameters = std::min(all, all == 16 ? 4.0 : 2.0);
  const double gradients = std::min(all - parameters, run.pure() ? 2.0 : 4.0);
  return {
      .parameters = parameters, .gradients = gradients, .optimizer = all - parameters - gradients};
}

/// Whole weights and gradients beside the sharded states, from microbatch to microbatch.
bool keeps_whole_copies(const PeerRun& run) {
  const bool pipelined = shards_parameters(run) && run.mesh.sizes[Axis::kPp] > 1;
  return pipelined || (run.pure() && run.accumulation > 1);
}

void allocate_sharded(Timeline& list, const PeerRun& run, const Held& held) {
  const RuntimeProfile& runtime = *run.runtime;
  const double shards = as_double(sharding_ranks(run.mesh));
  const StateBytes state = state_bytes(run);
  const double n = held.parameters();
  if (keeps_whole_copies(run)) {
    // Of the gathered kind weights are whole, their shards counted once; so are gradients: in 16
    // bits where all is, in float32 otherwise.
    const double replaced = run.pure() ? 2 : 4;
    list.allocate("weights and states", kParameters, state.parameters * n / shards);
    list.allocate("optimizer", kOptimizer, state.optimizer * n / shards);
    list.allocate("gradients", kGradients,
                  (run.pure() ? 2 : 4) * n + (state.gradients - replaced) * n / shards);
    list.allocate("gathered parameters", kGatheredParameters, 2 * n);
    return;
  }
  list.allocate("weights and states", kParameters, state.parameters * n / shards);
  list.allocate("optimizer", kOptimizer, state.optimizer * n / shards);
  list.allocate("gradients", kGradients, state.gradients * n / shards);
  const double gathered =
      without_replicas(run.sharding) == Sharding::kShardGradOp
          ? n
          : runtime.gathered_blocks * held.block + runtime.gathered_vocabulary * held.vocabulary;
  list.allocate("gathered parameters", kGatheredParameters, kElement * gathered);
  list.allocate("unreduced gradients", kCommunicationBuffers,
                runtime.reduce_bytes * runtime.reduced_blocks * held.block);
}

void allocate_whole(Timeline& list, const PeerRun& run, const Held& held) {
  const RuntimeProfile& runtime = *run.runtime;
  const StateBytes state = state_bytes(run);
  const double n = held.parameters();
  const bool zero1 = run.sharding == Sharding::kShardOptimizer && runtime.zero1_whole_bytes > 0;
  const double copies = zero1 ? as_double(data_parallel_size(run.mesh)) : 1;
  const double whole = zero1 ? std::min(runtime.zero1_whole_bytes, run.state_bytes_per_parameter)
                             : state.parameters + state.gradients;
  const double saving = run.accumulation == 1 ? runtime.single_pass_saving : 0;
  const double parameters = std::min(state.parameters, whole);
  // Where an all-bfloat16 trainer accumulates, gathered weights and whole gradients are its own
  // buffers even on one rank.
  const double buffers = keeps_whole_copies(run) ? 2 : 0;
  list.allocate("parameters", kParameters, parameters * n);
  list.allocate("gradients", kGradients, std::max(0.0, whole - parameters - saving + buffers) * n);
  list.allocate("optimizer", kOptimizer, (run.state_bytes_per_parameter - whole) * n / copies);
}

/// Elements that a block saves per token.
double saved_elements(const PeerRun& run, const SavedElements& saved) {
  const PeerWidths w = peer_widths(run);
  const double hidden = as_double(run.model.hidden_size) /
                        (run.sequence_parallel ? as_double(run.mesh.sizes[Axis::kTp]) : 1);
  const double matrices = run.model.gated_mlp ? 1 : 0.5;
  return saved.hidden * hidden + saved.qkv * as_double(w.queries + 2 * w.keys) +
         saved.attention * as_double(w.queries) +
         saved.feed_forward * matrices * as_double(w.feed_forward) + saved.keys * as_double(w.keys);
}

/// Unfused attention keeps the softmax, dropout's mask of a byte, and its result (Korthikanti et
/// al. 2022, arXiv 2205.05198).
double score_elements(const PeerRun& run) {
  if (run.fused_attention) return 0;
  const double heads = as_double(peer_widths(run).queries) / as_double(run.model.head_dim);
  return 2.5 * heads * as_double(run.seq_length);
}

/// A list of outputs of matrix multiplies, which saved_elements() would halve for two matrices.
SavedElements whole_widths(const PeerRun& run, SavedElements saved) {
  if (!run.model.gated_mlp) saved.feed_forward *= 2;
  return saved;
}

double kept_elements(const PeerRun& run) {
  const RuntimeProfile& runtime = *run.runtime;
  const double without_scores = saved_elements(run, runtime.saved);
  const double all = without_scores + score_elements(run);
  const double input = saved_elements(run, {.hidden = 1});
  switch (run.checkpointing) {
    case PeerCheckpointing::kNone:
      return all;
    case PeerCheckpointing::kSelectiveAttention:
      return without_scores;
    case PeerCheckpointing::kFull:
      return input;
    case PeerCheckpointing::kSecondBlocks:
      return (all + input) / 2;
    case PeerCheckpointing::kSelectiveGraph:
      return saved_elements(run, whole_widths(run, runtime.saved_selective_graph));
    case PeerCheckpointing::kSelectiveOp:
      return saved_elements(run, whole_widths(run, runtime.saved_selective_op));
  }
  return all;
}

double logit_bytes(const PeerRun& run) {
  if (run.pure()) return run.runtime->pure_logit_bytes;
  return run.chunked_loss ? run.runtime->chunked_logit_bytes : run.runtime->logit_bytes;
}

/// What the loss works on, of one microbatch.
struct LossBytes {
  double logits;
  /// The head's input and its gradient.
  double hidden;
};

LossBytes loss_bytes(const PeerRun& run) {
  const PeerWidths w = peer_widths(run);
  const bool whole = run.pure() && run.runtime->pure_trainer_gathers_logits;
  const double tp = as_double(run.mesh.sizes[Axis::kTp]);
  const double logits = as_double(w.tokens) * as_double(run.model.vocab_size) / (whole ? 1 : tp);
  // What is gathered over tp stands rank by rank before it stands row by row.
  const double gathered = whole && tp > 1 ? kElement : 0;
  return {.logits = (logit_bytes(run) + gathered) * logits,
          .hidden = kElement * run.runtime->head_hidden * as_double(w.tokens) *
                    as_double(run.model.hidden_size)};
}

void pass_loss(Timeline& list, const PeerRun& run) {
  const LossBytes loss = loss_bytes(run);
  list.allocate("head input and gradient", kTemporaries, loss.hidden);
  list.pass("logits", kLogits, loss.logits);
  list.free("head input and gradient", kTemporaries, loss.hidden);
}

double activations(const PeerRun& run, const Held& held, double in_flight) {
  const RuntimeProfile& runtime = *run.runtime;
  const double per_block = kElement * as_double(peer_widths(run).tokens) * kept_elements(run);
  const Axis tp = Axis::kTp;
  const bool within_node = run.mesh.sizes[tp] <= run.mesh.ranks_per_node;
  const bool keeps = run.sequence_parallel && (within_node || run.mesh.sizes[Axis::kPp] == 1);
  const double gathered = keeps ? kElement * as_double(peer_widths(run).tokens) *
                                      runtime.kept_gathered * as_double(run.model.hidden_size)
                                : 0;
  return in_flight * held.blocks * (per_block + gathered);
}

/// A block's backward pass: its saved list, where it is computed again, and what it works on. Under
/// sequence parallelism three whole activations stand beside: a gathered input and its gradient,
/// and a product before its reduce-scatter.
double working_set(const PeerRun& run) {
  const RuntimeProfile& runtime = *run.runtime;
  const double again = run.checkpointing == PeerCheckpointing::kNone ? 0 : 1;
  const bool gathers = run.sequence_parallel && run.mesh.sizes[Axis::kTp] > 1;
  const double whole = gathers ? 3 * as_double(run.model.hidden_size) : 0;
  return kElement * as_double(peer_widths(run).tokens) *
         ((again + runtime.working_blocks) *
              (saved_elements(run, runtime.saved) + score_elements(run)) +
          whole);
}

}  // namespace

Operations stage_memory(const PeerRun& run, bool first_stage) {
  const RuntimeProfile& runtime = *run.runtime;
  const Held held = held_by(run, first_stage);
  const bool one_stage = run.mesh.sizes[Axis::kPp] == 1;
  const double tied = run.model.tie_word_embeddings && !one_stage
                          ? runtime.tied_stage_bytes * rank_embedding_parameters(run)
                          : 0;
  Timeline list;
  list.allocate("workspaces", kTemporaries, runtime.fixed_gib * as_double(common::kGiB.value));
  list.allocate("tied embedding", kCommunicationBuffers, tied);
  const double before = list.standing();
  if (shards_parameters(run) && sharding_ranks(run.mesh) > 1)
    allocate_sharded(list, run, held);
  else
    allocate_whole(list, run, held);
  list.allocate("fragments", kTemporaries, runtime.extra_bytes_per_parameter * held.parameters());
  const double in_flight = first_stage ? microbatches_in_flight(run) : 1;
  const double saved = activations(run, held, in_flight);
  list.allocate("saved activations", kActivations, saved);
  if (one_stage || !first_stage) pass_loss(list, run);
  list.pass("a block's backward pass", kTemporaries, working_set(run));
  list.free("saved activations", kActivations, saved);
  if (run.sharding == Sharding::kShardOptimizer && runtime.zero1_step_bytes > 0) {
    const double copies = as_double(data_parallel_size(run.mesh));
    const double step = (runtime.zero1_step_bytes - 1 / copies) * held.parameters();
    list.pass("optimizer step", kCommunicationBuffers, before + step - list.standing());
  }
  return list.take();
}

double reserved_bytes(const PeerRun& run, common::Bytes allocated) {
  const LossBytes loss = loss_bytes(run);
  const double lesser = std::min(loss.logits + loss.hidden, working_set(run));
  return run.runtime->reserved_over_allocated *
         (as_double(allocated.value) + run.runtime->unshared_transients * lesser);
}

}  // namespace meshplan::planner

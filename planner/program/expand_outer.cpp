#include <algorithm>

#include "common/checked.h"
#include "planner/program/block_parts.h"
#include "planner/program/expand_compute.h"

// What is outside of the blocks: embedding, final norm and output head.

namespace meshplan::planner {
namespace {

using enum MemoryClass;

/// Whether embedding and head are of another width than the blocks, with a matrix between that tp
/// replicates.
bool is_projected(const ModelSpec& model) {
  return model.embedding_size > 0 && model.embedding_size != model.hidden_size;
}

std::int64_t embedding_width(const ModelSpec& model) {
  return is_projected(model) ? model.embedding_size : model.hidden_size;
}

/// The rank's share of the rows of [T, width of the embedding].
std::int64_t own_embedding(const StepContext& c) {
  return c.residual_tokens * embedding_width(c.model) * c.param_size;
}

LayerInput final_norm(const StepContext& c) {
  return {"final_norm", "final_norm backward", "final norm statistics", c.model.final_norm};
}

/// What the head reads, whole on every rank: the norm's output, or a projection of it.
void read_head_input(OperationList& list, const StepContext& c) {
  if (!is_projected(c.model)) return final_norm(c).read(list, c);
  if (c.model.final_norm) {
    const std::int64_t residual = activation_sizes(c).residual;
    list.allocate("norm output", kTemporaries, residual);
    list.elementwise("final_norm", 2 * residual);
  }
  list.allocate("projected", kTemporaries, own_embedding(c));
  list.matmul("head_projection", c.residual_tokens, c.model.embedding_size, c.model.hidden_size,
              c.param_size);
  if (!c.splits_tokens()) return;
  const std::int64_t whole = c.tokens * c.model.embedding_size * c.param_size;
  list.allocate("head input", kTemporaries, whole);
  list.collective("head_projection", CollectiveKind::kAllGather, Axis::kTp, whole, Stream::kTp);
  list.free("projected", kTemporaries, own_embedding(c));
}

void release_head_input(OperationList& list, const StepContext& c) {
  if (!is_projected(c.model)) return final_norm(c).release(list, c);
  const std::int64_t whole = c.tokens * c.model.embedding_size * c.param_size;
  list.free("head input", kTemporaries, c.splits_tokens() ? whole : own_embedding(c));
}

/// From the gradient of what the head read to that of the residual stream.
void differentiate_head_input(OperationList& list, const StepContext& c) {
  const std::int64_t residual = activation_sizes(c).residual;
  if (is_projected(c.model)) {
    list.matmul("head_projection weight gradient", c.model.embedding_size, c.model.hidden_size,
                c.residual_tokens, c.param_size);
    list.allocate("head_projection input gradient", kTemporaries, residual);
    list.matmul("head_projection input gradient", c.residual_tokens, c.model.hidden_size,
                c.model.embedding_size, c.param_size);
    list.free("projected gradient", kTemporaries, own_embedding(c));
    if (c.model.final_norm) list.free("norm output", kTemporaries, residual);
  }
  if (c.model.final_norm) list.elementwise("final_norm backward", 3 * residual);
}

/// Logits, loss and both gradients of so many rows.
void expand_loss_chunk(OperationList& list, const StepContext& c, std::int64_t rows) {
  const std::int64_t width = embedding_width(c.model);
  const bool converts = c.job.param_dtype != common::DataType::kFloat32;
  const std::int64_t logits = rows * c.vocab_rows * c.param_size;
  const std::int64_t wide_logits = converts ? rows * c.vocab_rows * 4 : 0;
  const std::int64_t working = 4 * rows * c.vocab_rows;
  list.allocate("loss statistics", kLogits, 12 * rows);
  list.allocate("logits", kLogits, logits);
  list.matmul("output_head", rows, c.vocab_rows, width, c.param_size);
  list.allocate("logits, float32", kLogits, wide_logits);
  list.elementwise("logits max", (converts ? 2 : 1) * working);
  all_reduce_tp(list, c, "logits max", 4 * rows);
  list.elementwise("logits sum", 2 * working);
  all_reduce_tp(list, c, "logits sum", 8 * rows);
  list.elementwise("cross_entropy", 2 * working);
  list.free("logits, float32", kLogits, wide_logits);
  list.matmul("output_head input gradient", rows, width, c.vocab_rows, c.param_size);
  list.matmul("output_head weight gradient", c.vocab_rows, width, rows, c.param_size);
  list.free("logits", kLogits, logits);
  list.free("loss statistics", kLogits, 12 * rows);
}

}  // namespace

void expand_embedding_forward(OperationList& list, const StepContext& c) {
  const ActivationSizes a = activation_sizes(c);
  const std::int64_t width = embedding_width(c.model);
  const RowSum sum{"embedding", kActivations, width};
  sum.allocate_product(list, c);
  // Learned positions are added.
  const std::int64_t operands = c.model.positions == Positions::kLearned ? 3 : 2;
  list.elementwise("embedding", operands * c.tokens * width * c.param_size);
  sum.issue(list, c);
  sum.finish(list, c);
  if (is_projected(c.model)) {
    list.allocate("projected embedding", kActivations, a.residual);
    list.matmul("embedding_projection", c.residual_tokens, c.model.hidden_size, width,
                c.param_size);
  }
  if (!c.model.embedding_norm) return;
  list.allocate("embedding norm statistics", kActivations, a.norm_statistics);
  list.allocate("residual stream", kActivations, a.residual);
  list.elementwise("embedding_norm", 2 * a.residual);
}

void expand_embedding_backward(OperationList& list, const StepContext& c) {
  const ActivationSizes a = activation_sizes(c);
  const std::int64_t width = embedding_width(c.model);
  const std::int64_t gradient = c.embedding.elements * c.param_size;
  if (!c.model.tie_word_embeddings) {
    list.allocate("unit gradient", kGradients, gradient);
    list.elementwise("embedding gradient zero", gradient);
  }
  if (c.model.embedding_norm) {
    list.elementwise("embedding_norm backward", 3 * a.residual);
    list.free("embedding norm input", kActivations, a.residual);
    list.free("embedding norm statistics", kActivations, a.norm_statistics);
  }
  const std::int64_t projected = is_projected(c.model) ? own_embedding(c) : 0;
  if (projected > 0) {
    list.matmul("embedding_projection weight gradient", c.model.hidden_size, width,
                c.residual_tokens, c.param_size);
    list.free("embedding", kActivations, projected);
    list.allocate("embedding_projection input gradient", kTemporaries, projected);
    list.matmul("embedding_projection input gradient", c.residual_tokens, width,
                c.model.hidden_size, c.param_size);
  }
  gather_gradient(list, c, width);
  list.elementwise("embedding backward", 3 * c.tokens * width * c.param_size);
  free_gathered_gradient(list, c, width);
  list.free("embedding_projection input gradient", kTemporaries, projected);
  list.free("embedding output gradient", kTemporaries, a.residual);
}

void expand_loss(OperationList& list, const StepContext& c) {
  const ActivationSizes a = activation_sizes(c);
  const std::int64_t width = embedding_width(c.model);
  const std::int64_t gradient = c.head.elements * c.param_size;
  const bool converts = c.job.param_dtype != common::DataType::kFloat32;
  const std::int64_t wide_gradient =
      converts && c.layout.loss_chunks > 1 ? 4 * c.vocab_rows * width : 0;
  const std::int64_t statistics = final_norm(c).statistics_bytes(c);
  const RowSum sum{"output_head input gradient", kTemporaries, width};
  list.allocate("unit gradient", kGradients, gradient);
  list.allocate("final norm statistics", kTemporaries, statistics);
  read_head_input(list, c);
  sum.allocate_product(list, c);
  list.allocate("head gradient, float32", kTemporaries, wide_gradient);
  const std::int64_t chunk = common::ceil_divide(c.tokens, c.layout.loss_chunks);
  for (std::int64_t begin = 0; begin < c.tokens; begin += chunk)
    expand_loss_chunk(list, c, std::min(chunk, c.tokens - begin));
  if (wide_gradient > 0) list.elementwise("head gradient convert", wide_gradient + gradient);
  list.free("head gradient, float32", kTemporaries, wide_gradient);
  release_head_input(list, c);
  sum.issue(list, c);
  sum.finish(list, c);
  differentiate_head_input(list, c);
  list.free("final norm statistics", kTemporaries, statistics);
  list.free("head input", kActivations, a.residual);
}

}  // namespace meshplan::planner

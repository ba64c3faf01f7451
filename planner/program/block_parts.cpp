#include "planner/program/block_parts.h"

namespace meshplan::planner {
namespace {

using enum MemoryClass;

/// Bytes of [T, width], and of the rank's share of its rows.
std::int64_t whole_rows(const StepContext& c, std::int64_t width) {
  return c.tokens * c.param_size * width;
}
std::int64_t own_rows(const StepContext& c, std::int64_t width) {
  return c.residual_tokens * c.param_size * width;
}

}  // namespace

std::int64_t up_rows(const StepContext& c, std::int64_t width) {
  return (c.model.gated_feed_forward ? 2 : 1) * width;
}

ActivationSizes activation_sizes(const StepContext& c) {
  const std::int64_t row = c.tokens * c.param_size;
  const std::int64_t queries = c.heads * c.model.head_dim;
  const std::int64_t keys = c.kv_heads * c.model.head_dim;
  return {.hidden = whole_rows(c, c.model.hidden_size),
          .residual = own_rows(c, c.model.hidden_size),
          .qkv = row * (queries + 2 * keys),
          .queries = row * queries,
          .rotated = c.model.qk_norm ? row * (queries + keys) : 0,
          .log_sum_exp = 4 * c.tokens * c.heads,
          .gate_up = row * up_rows(c, c.intermediate),
          .gated = row * c.intermediate,
          // A layer norm keeps the mean as well.
          .norm_statistics = (c.model.norm == NormKind::kRms ? 4 : 8) * c.residual_tokens};
}

bool has_tp(const StepContext& c) { return c.layout.mesh.sizes[Axis::kTp] > 1; }

void all_reduce_tp(OperationList& list, const StepContext& c, const char* name,
                   std::int64_t bytes) {
  if (has_tp(c)) list.collective(name, CollectiveKind::kAllReduce, Axis::kTp, bytes, Stream::kTp);
}

void RowSum::allocate_product(OperationList& list, const StepContext& c) const {
  list.allocate(name, c.splits_tokens() ? kTemporaries : memory, whole_rows(c, width));
}

void RowSum::issue(OperationList& list, const StepContext& c) const {
  if (c.splits_tokens()) list.allocate(name, memory, own_rows(c, width));
  if (!has_tp(c)) return;
  const auto kind = c.splits_tokens() ? CollectiveKind::kReduceScatter : CollectiveKind::kAllReduce;
  list.issue(name, kind, Axis::kTp, whole_rows(c, width), Stream::kTp);
}

void RowSum::finish(OperationList& list, const StepContext& c) const {
  if (has_tp(c)) list.join();
  if (c.splits_tokens()) list.free(name, kTemporaries, whole_rows(c, width));
}

std::int64_t LayerInput::statistics_bytes(const StepContext& c) const {
  return normed ? activation_sizes(c).norm_statistics : 0;
}

void LayerInput::save_statistics(OperationList& list, const StepContext& c) const {
  list.allocate(statistics, kActivations, statistics_bytes(c));
}

void LayerInput::forget_statistics(OperationList& list, const StepContext& c) const {
  list.free(statistics, kActivations, statistics_bytes(c));
}

void LayerInput::read(OperationList& list, const StepContext& c) const {
  arrive(list, c, prefetch(list, c));
}

void LayerInput::release(OperationList& list, const StepContext& c) const {
  const ActivationSizes a = activation_sizes(c);
  if (c.splits_tokens()) {
    list.free("layer input", kTemporaries, a.hidden);
  } else if (normed) {
    list.free("norm output", kTemporaries, a.residual);
  }
}

std::int32_t LayerInput::prefetch(OperationList& list, const StepContext& c) const {
  if (!c.splits_tokens()) return list.last_collective();
  const ActivationSizes a = activation_sizes(c);
  if (normed) {
    list.allocate("norm output", kTemporaries, a.residual);
    list.elementwise(norm, 2 * a.residual);
  }
  list.allocate("layer input", kTemporaries, a.hidden);
  list.issue(norm, CollectiveKind::kAllGather, Axis::kTp, a.hidden, Stream::kTp);
  return list.last_collective();
}

void LayerInput::arrive(OperationList& list, const StepContext& c, std::int32_t prefetched) const {
  const std::int64_t residual = activation_sizes(c).residual;
  if (c.splits_tokens()) {
    list.join(prefetched);
    if (normed) list.free("norm output", kTemporaries, residual);
  } else if (normed) {
    list.allocate("norm output", kTemporaries, residual);
    list.elementwise(norm, 2 * residual);
  }
}

void gather_gradient(OperationList& list, const StepContext& c, std::int64_t width) {
  if (!c.splits_tokens()) return;
  list.allocate("whole gradient of the residual stream", kTemporaries, whole_rows(c, width));
  list.collective("residual gradient", CollectiveKind::kAllGather, Axis::kTp, whole_rows(c, width),
                  Stream::kTp);
}

void free_gathered_gradient(OperationList& list, const StepContext& c, std::int64_t width) {
  if (c.splits_tokens())
    list.free("whole gradient of the residual stream", kTemporaries, whole_rows(c, width));
}

}  // namespace meshplan::planner

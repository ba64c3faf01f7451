#include "executor/data/batches.h"

#include <ATen/ops/empty.h>
#include <ATen/ops/from_blob.h>
#include <fmt/format.h>

#include <algorithm>
#include <cstddef>
#include <span>
#include <string>

#include "common/checked.h"
#include "common/error.h"

namespace meshplan::executor {
namespace {

using common::Error;
using common::ErrorCode;

void check_range(std::int64_t value, std::int64_t least, std::int64_t most, const char* what) {
  if (value >= least && value <= most) return;
  throw Error(ErrorCode::kInvalidInput,
              fmt::format("{}: must be from {} to {}", value, least, most), what);
}

void check_at_least(std::int64_t value, std::int64_t least, const char* what) {
  if (value >= least) return;
  throw Error(ErrorCode::kInvalidInput, fmt::format("{}: must be at least {}", value, least), what);
}

/// A position is `width` numbers; a sequence has at least `shortest` of them.
void check(const BatchOptions& options, std::int64_t shortest, std::int64_t width) {
  check_at_least(options.seq_length, shortest, "sequence length");
  check_at_least(options.batch_size, 1, "batch size");
  check_at_least(options.seed, 0, "seed");
  check_at_least(options.dp_size, 1, "data-parallel size");
  check_range(options.dp_rank, 0, options.dp_size - 1, "data-parallel rank");
  const std::int64_t positions =
      common::checked_multiply(options.batch_size, options.seq_length, "batch");
  common::checked_multiply(common::checked_multiply(positions, width, "batch"),
                           sizeof(std::int64_t), "batch");
}

at::Tensor integers_on(at::Device device, const std::vector<std::int64_t>& values,
                       std::int64_t rows) {
  const std::int64_t shape[] = {rows, static_cast<std::int64_t>(values.size()) / rows};
  const at::Tensor host = at::empty(shape, at::kLong);
  std::copy(values.begin(), values.end(), host.mutable_data_ptr<std::int64_t>());
  return host.to(device);
}

/// [positions, width] in the type; the copy on the host is in no count of a step's tensors.
at::Tensor numbers_on(at::Device device, at::ScalarType type, const std::vector<float>& values,
                      std::int64_t positions) {
  const auto width = static_cast<std::int64_t>(values.size()) / positions;
  // Only read: it is copied at once.
  const at::Tensor host =
      at::from_blob(const_cast<float*>(values.data()), {positions, width}, at::kFloat);
  return host.to(device, type, /*non_blocking=*/false, /*copy=*/true);
}

}  // namespace

Batch to_device(const HostBatch& batch, at::Device device, at::ScalarType rows) {
  const auto samples = static_cast<std::int64_t>(batch.samples.size());
  Batch made{.tokens = {}, .labels = {}, .label_count = batch.label_count};
  if (batch.rows.empty()) {
    made.tokens = integers_on(device, batch.tokens, samples);
    made.labels = integers_on(device, batch.labels, samples);
  } else {
    made.rows = numbers_on(device, rows, batch.rows, batch.positions);
  }
  return made;
}

BatchStream::BatchStream(const SampleSource& source, const BatchOptions& options)
    : BatchStream(&source, nullptr, options) {}

BatchStream::BatchStream(const RowSource& source, const BatchOptions& options)
    : BatchStream(nullptr, &source, options) {}

BatchStream::BatchStream(const SampleSource* tokens, const RowSource* rows,
                         const BatchOptions& options)
    : tokens_(tokens), rows_(rows), options_(options) {
  // A token alone predicts nothing.
  check(options_, tokens == nullptr ? 1 : 2, rows == nullptr ? 1 : rows->width());
  deal_ = {samples().count(), options_.dp_rank, options_.dp_size, options_.seed, options_.shuffle};
  if (batches_per_epoch() > 0) return;
  throw Error(ErrorCode::kInvalidInput,
              fmt::format("Dataloader is empty: {}, which is {} for each of {} data-parallel "
                          "ranks, and a batch takes {}; use fewer data-parallel ranks, a smaller "
                          "batch size or more data (--dataset-percentage)",
                          samples().describe(), samples_per_rank(deal_), deal_.dp_size,
                          options_.batch_size),
              samples().name());
}

const SampleSet& BatchStream::samples() const {
  if (tokens_ != nullptr) return *tokens_;
  return *rows_;
}

std::int64_t BatchStream::batches_per_epoch() const {
  return samples_per_rank(deal_) / options_.batch_size;
}

HostBatch BatchStream::read(const BatchPosition& position) {
  check_at_least(position.epoch, 0, "epoch");
  check_range(position.batch, 0, batches_per_epoch() - 1, "batch of the epoch");
  if (dealt_epoch_ != position.epoch) {
    dealt_ = deal_samples(deal_, position.epoch);
    dealt_epoch_ = position.epoch;
  }
  const auto first = dealt_.begin() + position.batch * options_.batch_size;
  HostBatch batch;
  batch.samples.assign(first, first + options_.batch_size);
  batch.positions = options_.batch_size * options_.seq_length;
  if (tokens_ != nullptr) {
    fill_tokens(batch);
  } else {
    fill_rows(batch);
  }
  return batch;
}

void BatchStream::fill_tokens(HostBatch& batch) const {
  const auto positions = static_cast<std::size_t>(batch.positions);
  const auto length = static_cast<std::size_t>(options_.seq_length);
  batch.tokens.resize(positions);
  batch.labels.assign(positions, kIgnoredLabel);
  for (std::size_t row = 0; row < batch.samples.size(); ++row) {
    batch.label_count +=
        tokens_->fill(batch.samples[row], std::span(batch.tokens).subspan(row * length, length),
                      std::span(batch.labels).subspan(row * length, length));
  }
}

void BatchStream::fill_rows(HostBatch& batch) const {
  const auto length = static_cast<std::size_t>(options_.seq_length * rows_->width());
  batch.rows.resize(batch.samples.size() * length);
  for (std::size_t row = 0; row < batch.samples.size(); ++row)
    rows_->fill(batch.samples[row], std::span(batch.rows).subspan(row * length, length));
  batch.label_count = 1;
}

}  // namespace meshplan::executor

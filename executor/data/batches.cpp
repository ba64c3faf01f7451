#include "executor/data/batches.h"

#include <ATen/ops/empty.h>
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

void check(const BatchOptions& options) {
  check_at_least(options.seq_length, 2, "sequence length");
  check_at_least(options.batch_size, 1, "batch size");
  check_at_least(options.seed, 0, "seed");
  check_at_least(options.dp_size, 1, "data-parallel size");
  check_range(options.dp_rank, 0, options.dp_size - 1, "data-parallel rank");
  common::checked_multiply(
      common::checked_multiply(options.batch_size, options.seq_length, "batch"),
      sizeof(std::int64_t), "batch");
}

at::Tensor rows_on(at::Device device, const std::vector<std::int64_t>& values, std::int64_t rows) {
  const std::int64_t shape[] = {rows, static_cast<std::int64_t>(values.size()) / rows};
  const at::Tensor host = at::empty(shape, at::kLong);
  std::copy(values.begin(), values.end(), host.mutable_data_ptr<std::int64_t>());
  return host.to(device);
}

}  // namespace

Batch to_device(const HostBatch& batch, at::Device device) {
  const auto rows = static_cast<std::int64_t>(batch.samples.size());
  return {.tokens = rows_on(device, batch.tokens, rows),
          .labels = rows_on(device, batch.labels, rows),
          .label_count = batch.label_count};
}

BatchStream::BatchStream(const SampleSource& source, const BatchOptions& options)
    : source_(source), options_(options) {
  check(options_);
  deal_ = {source_.count(), options_.dp_rank, options_.dp_size, options_.seed, options_.shuffle};
  if (batches_per_epoch() > 0) return;
  throw Error(
      ErrorCode::kInvalidInput,
      fmt::format("Dataloader is empty: {}, which is {} for each of {} data-parallel "
                  "ranks, and a batch takes {}; use fewer data-parallel ranks, a smaller "
                  "batch size or more data (--dataset-percentage)",
                  source_.describe(), samples_per_rank(deal_), deal_.dp_size, options_.batch_size),
      source_.name());
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
  const auto rows = static_cast<std::size_t>(options_.batch_size);
  const auto length = static_cast<std::size_t>(options_.seq_length);
  const auto first = dealt_.begin() + position.batch * options_.batch_size;
  HostBatch batch{.tokens = std::vector<std::int64_t>(rows * length),
                  .labels = std::vector<std::int64_t>(rows * length, kIgnoredLabel),
                  .samples = std::vector<std::int64_t>(first, first + options_.batch_size)};
  for (std::size_t row = 0; row < rows; ++row) {
    batch.label_count +=
        source_.fill(batch.samples[row], std::span(batch.tokens).subspan(row * length, length),
                     std::span(batch.labels).subspan(row * length, length));
  }
  return batch;
}

}  // namespace meshplan::executor

#include "executor/data/batches.h"

#include <ATen/ops/full.h>
#include <ATen/ops/zeros.h>
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

void check_at_least(std::int64_t value, std::int64_t least, const char* what) {
  if (value < least) {
    throw Error(ErrorCode::kInvalidInput, fmt::format("{}: must be at least {}", value, least),
                what);
  }
}

void check(const BatchOptions& options) {
  check_at_least(options.vocab_size, 1, "vocabulary size");
  check_at_least(options.seq_length, 2, "sequence length");
  check_at_least(options.batch_size, 1, "batch size");
  check_at_least(options.seed, 0, "seed");
  check_at_least(options.dp_size, 1, "data-parallel size");
  if (options.dp_rank < 0 || options.dp_rank >= options.dp_size) {
    throw Error(ErrorCode::kInvalidInput,
                fmt::format("{}: must be from 0 to {}", options.dp_rank, options.dp_size - 1),
                "data-parallel rank");
  }
  common::checked_multiply(
      common::checked_multiply(options.batch_size, options.seq_length, "batch"),
      sizeof(std::int64_t), "batch");
}

/// A sequence of one token predicts nothing.
std::vector<std::int64_t> usable_sequences(const formats::IndexedDataset& dataset) {
  std::vector<std::int64_t> usable;
  for (std::int64_t i = 0; i < dataset.sequence_count(); ++i) {
    if (dataset.length(i) > 1) usable.push_back(i);
  }
  return usable;
}

}  // namespace

BatchStream::BatchStream(const formats::IndexedDataset& dataset, const BatchOptions& options)
    : dataset_(dataset), options_(options), sequences_(usable_sequences(dataset)) {
  check(options_);
  deal_ = {static_cast<std::int64_t>(sequences_.size()), options_.dp_rank, options_.dp_size,
           options_.seed, options_.shuffle};
  if (batches_per_epoch() == 0) {
    throw Error(ErrorCode::kInvalidInput,
                fmt::format("Dataloader is empty: of {} sequences, {} have two tokens or more, "
                            "which is {} for each of {} data-parallel ranks, and a batch takes {}; "
                            "use fewer data-parallel ranks, a smaller batch size or more data",
                            dataset_.sequence_count(), deal_.count, samples_per_rank(deal_),
                            deal_.dp_size, options_.batch_size),
                dataset_.prefix());
  }
}

std::int64_t BatchStream::batches_per_epoch() const {
  return samples_per_rank(deal_) / options_.batch_size;
}

void BatchStream::seek(const BatchPosition& position) {
  check_at_least(position.epoch, 0, "epoch");
  if (position.batch < 0 || position.batch >= batches_per_epoch()) {
    throw Error(ErrorCode::kInvalidInput,
                fmt::format("{}: must be from 0 to {}", position.batch, batches_per_epoch() - 1),
                "batch of the epoch");
  }
  position_ = position;
}

Batch BatchStream::next() {
  if (dealt_epoch_ != position_.epoch) {
    dealt_ = deal_samples(deal_, position_.epoch);
    dealt_epoch_ = position_.epoch;
  }
  const std::int64_t shape[] = {options_.batch_size, options_.seq_length};
  Batch batch{at::zeros(shape, at::kLong), at::full(shape, kIgnoredLabel, at::kLong)};
  auto* tokens = batch.tokens.mutable_data_ptr<std::int64_t>();
  auto* labels = batch.labels.mutable_data_ptr<std::int64_t>();
  for (std::int64_t row = 0; row < options_.batch_size; ++row) {
    const std::int64_t place = position_.batch * options_.batch_size + row;
    const std::int64_t sample = dealt_[static_cast<std::size_t>(place)];
    const std::int64_t begin = row * options_.seq_length;
    batch.label_count +=
        fill_row(sequences_[static_cast<std::size_t>(sample)], tokens + begin, labels + begin);
  }
  if (++position_.batch == batches_per_epoch()) position_ = {position_.epoch + 1, 0};
  return batch;
}

std::int64_t BatchStream::fill_row(std::int64_t sequence, std::int64_t* tokens,
                                   std::int64_t* labels) const {
  const std::int64_t length =
      dataset_.read(sequence, std::span(tokens, static_cast<std::size_t>(options_.seq_length)));
  const auto wrong = std::find_if(tokens, tokens + length, [this](std::int64_t id) {
    return id < 0 || id >= options_.vocab_size;
  });
  if (wrong != tokens + length) {
    throw Error(ErrorCode::kInvalidInput,
                fmt::format("sequence {}, position {}: token id {} is not below the model's "
                            "vocabulary size {}; use the tokenizer that belongs to the model",
                            sequence, wrong - tokens, *wrong, options_.vocab_size),
                dataset_.prefix());
  }
  std::copy(tokens + 1, tokens + length, labels);
  return length - 1;
}

}  // namespace meshplan::executor

#include "executor/data/dataset_samples.h"

#include <fmt/format.h>

#include <algorithm>

#include "common/checked.h"
#include "common/error.h"

namespace meshplan::executor {
namespace {

using common::Error;
using common::ErrorCode;

std::int64_t checked_vocabulary(std::int64_t vocab_size) {
  if (vocab_size >= 1) return vocab_size;
  throw Error(ErrorCode::kInvalidInput, fmt::format("{}: must be at least 1", vocab_size),
              "vocabulary size");
}

/// `tokens` are those of the sequence from `first` on.
void check_tokens(std::span<const std::int64_t> tokens, std::int64_t vocab_size,
                  const formats::IndexedDataset& dataset, std::int64_t sequence,
                  std::int64_t first) {
  const auto wrong = std::find_if(tokens.begin(), tokens.end(), [vocab_size](std::int64_t id) {
    return id < 0 || id >= vocab_size;
  });
  if (wrong == tokens.end()) return;
  throw Error(ErrorCode::kInvalidInput,
              fmt::format("sequence {}, position {}: token id {} is not below the model's "
                          "vocabulary size {}; use the tokenizer that belongs to the model",
                          sequence, first + (wrong - tokens.begin()), *wrong, vocab_size),
              dataset.prefix());
}

}  // namespace

PaddedSequences::PaddedSequences(const formats::IndexedDataset& dataset, std::int64_t vocab_size)
    : dataset_(dataset), vocab_size_(checked_vocabulary(vocab_size)) {
  for (std::int64_t i = 0; i < dataset.sequence_count(); ++i) {
    if (dataset.length(i) > 1) sequences_.push_back(i);
  }
}

std::int64_t PaddedSequences::fill(std::int64_t index, std::span<std::int64_t> tokens,
                                   std::span<std::int64_t> labels) const {
  const std::int64_t sequence = sequences_.at(static_cast<std::size_t>(index));
  const std::int64_t length = dataset_.read(sequence, tokens);
  const auto read = tokens.first(static_cast<std::size_t>(length));
  check_tokens(read, vocab_size_, dataset_, sequence, 0);
  std::copy(read.begin() + 1, read.end(), labels.begin());
  return length - 1;
}

std::string PaddedSequences::describe() const {
  return fmt::format("of {} sequences, {} have two tokens or more", dataset_.sequence_count(),
                     count());
}

PackedWindows::PackedWindows(const formats::IndexedDataset& dataset, std::int64_t vocab_size,
                             std::int64_t window)
    : dataset_(dataset), vocab_size_(checked_vocabulary(vocab_size)), window_(window) {
  if (window < 1)
    throw Error(ErrorCode::kInvalidInput, fmt::format("{}: must be at least 1", window), "window");
  starts_.push_back(0);
  for (std::int64_t i = 0; i < dataset.sequence_count(); ++i)
    starts_.push_back(common::checked_add(starts_.back(), dataset.length(i), dataset.prefix()));
}

std::int64_t PackedWindows::count() const {
  // The last window's last position predicts the token behind it.
  return std::max<std::int64_t>(0, starts_.back() - 1) / window_;
}

std::int64_t PackedWindows::fill(std::int64_t index, std::span<std::int64_t> tokens,
                                 std::span<std::int64_t> labels) const {
  std::int64_t place = index * window_;
  auto sequence = std::upper_bound(starts_.begin(), starts_.end(), place) - starts_.begin() - 1;
  std::vector<std::int64_t> read(tokens.size() + 1);
  for (std::span<std::int64_t> rest(read); !rest.empty(); ++sequence) {
    const std::int64_t first = place - starts_.at(static_cast<std::size_t>(sequence));
    const auto count = static_cast<std::size_t>(dataset_.read(sequence, rest, first));
    check_tokens(rest.first(count), vocab_size_, dataset_, sequence, first);
    place += static_cast<std::int64_t>(count);
    rest = rest.subspan(count);
  }
  std::copy_n(read.begin(), tokens.size(), tokens.begin());
  std::copy_n(read.begin() + 1, labels.size(), labels.begin());
  return window_;
}

std::string PackedWindows::describe() const {
  return fmt::format("{} tokens are {} windows of {}", starts_.back(), count(), window_);
}

}  // namespace meshplan::executor

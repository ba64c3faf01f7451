#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <vector>

#include "executor/data/distributed_sampler.h"
#include "executor/kernels/vocabulary.h"
#include "formats/indexed_dataset.h"

namespace meshplan::executor {

/// One microbatch of b sequences of s positions, on the CPU.
struct Batch {
  /// [b, s] int64: token ids, 0 behind the end of a short sequence.
  at::Tensor tokens;
  /// [b, s] int64: the id of the next token, which the position is to predict; kIgnoredLabel where
  /// there is none.
  at::Tensor labels;
  /// Labels that count in the loss.
  std::int64_t label_count = 0;
};

/// Where a BatchStream stands.
struct BatchPosition {
  std::int64_t epoch = 0;
  /// Within the epoch.
  std::int64_t batch = 0;

  bool operator==(const BatchPosition&) const = default;
};

/// How a data set is made into batches.
struct BatchOptions {
  std::int64_t vocab_size = 0;
  /// Tokens of a sample: longer sequences are cut, shorter ones padded.
  std::int64_t seq_length = 0;
  /// Samples of a batch.
  std::int64_t batch_size = 0;
  std::int64_t dp_rank = 0;
  std::int64_t dp_size = 1;
  std::int64_t seed = 0;
  bool shuffle = true;
};

/// The batches of one data-parallel rank, epoch after epoch without end. The sequences of at least
/// two tokens, in the order of the file, are the samples; deal_samples() deals them, anew each
/// epoch; the last, incomplete batch of an epoch is dropped. All ranks that agree on the options
/// but dp_rank get equally many batches.
class BatchStream {
 public:
  /// `dataset` must outlive the stream. Throws kInvalidInput where an option is out of its range,
  /// and where there are too few samples for one batch ("Dataloader is empty").
  BatchStream(const formats::IndexedDataset& dataset, const BatchOptions& options);

  std::int64_t batches_per_epoch() const;
  /// Of the batch that next() returns.
  BatchPosition position() const { return position_; }
  /// Makes next() return the batch there. A position at or behind the epoch's end is the begin of
  /// the next one.
  void seek(const BatchPosition& position) {
    position_ =
        position.batch < batches_per_epoch() ? position : BatchPosition{position.epoch + 1, 0};
  }

  /// Throws kInvalidInput, naming data set, sequence and position, where a token id is not in the
  /// vocabulary.
  Batch next();

 private:
  /// Writes one row of a batch and returns how many of its labels count.
  std::int64_t fill_row(std::int64_t sequence, std::int64_t* tokens, std::int64_t* labels) const;

  const formats::IndexedDataset& dataset_;
  BatchOptions options_;
  /// The sequence of each sample.
  std::vector<std::int64_t> sequences_;
  SampleDeal deal_;
  /// This rank's samples of the epoch dealt_epoch_.
  std::vector<std::int64_t> dealt_;
  std::int64_t dealt_epoch_ = -1;
  BatchPosition position_;
};

}  // namespace meshplan::executor

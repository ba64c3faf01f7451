#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <vector>

#include "executor/data/distributed_sampler.h"
#include "executor/data/sample_source.h"
#include "executor/kernels/vocabulary.h"

namespace meshplan::executor {

/// One microbatch of b sequences of s positions: token ids and labels, or rows of numbers.
struct Batch {
  /// [b, s] int64: token ids, 0 behind the end of a short sequence.
  at::Tensor tokens;
  /// [b, s] int64: the id of the next token, which the position is to predict; kIgnoredLabel where
  /// there is none.
  at::Tensor labels;
  /// Labels that count in the loss; 1 for rows of numbers, whose loss is one sum.
  std::int64_t label_count = 0;
  /// [b s, w]: the numbers of every position; undefined where there are tokens.
  at::Tensor rows = {};
};

/// The same in plain memory, as a thread beside the training may hold it: what it holds is in no
/// count of a step's tensors.
struct HostBatch {
  /// b x s, row after row.
  std::vector<std::int64_t> tokens;
  std::vector<std::int64_t> labels;
  /// The samples that the rows are, by number.
  std::vector<std::int64_t> samples;
  std::int64_t label_count = 0;
  /// b x s x w.
  std::vector<float> rows = {};
  /// b x s.
  std::int64_t positions = 0;
};

/// The batch as tensors on a device; rows of numbers in the given type.
Batch to_device(const HostBatch& batch, at::Device device, at::ScalarType rows = at::kFloat);

/// A place in the order of a rank's batches.
struct BatchPosition {
  std::int64_t epoch = 0;
  /// Within the epoch.
  std::int64_t batch = 0;

  bool operator==(const BatchPosition&) const = default;
};

/// How samples are made into batches.
struct BatchOptions {
  /// Positions of a row.
  std::int64_t seq_length = 0;
  /// Rows of a batch.
  std::int64_t batch_size = 0;
  std::int64_t dp_rank = 0;
  std::int64_t dp_size = 1;
  std::int64_t seed = 0;
  bool shuffle = true;
};

/// The batches of one data-parallel rank, by position. deal_samples() deals the samples, anew each
/// epoch; the last, incomplete batch of an epoch is dropped. All ranks that agree on the options
/// but dp_rank have equally many batches. Batches read in order are fastest; one thread at a time.
class BatchStream {
 public:
  /// `source` outlives the stream. Throws kInvalidInput where an option is out of its range, and
  /// where there are too few samples for one batch ("Dataloader is empty").
  BatchStream(const SampleSource& source, const BatchOptions& options);
  BatchStream(const RowSource& source, const BatchOptions& options);

  std::int64_t batches_per_epoch() const;
  const BatchOptions& options() const { return options_; }

  /// Throws kInvalidInput where the epoch has no such batch, and as SampleSource::fill().
  HostBatch read(const BatchPosition& position);

 private:
  BatchStream(const SampleSource* tokens, const RowSource* rows, const BatchOptions& options);
  const SampleSet& samples() const;
  void fill_tokens(HostBatch& batch) const;
  void fill_rows(HostBatch& batch) const;

  /// One of the two is null.
  const SampleSource* tokens_;
  const RowSource* rows_;
  BatchOptions options_;
  SampleDeal deal_;
  /// This rank's samples of the epoch dealt_epoch_.
  std::vector<std::int64_t> dealt_;
  std::int64_t dealt_epoch_ = -1;
};

}  // namespace meshplan::executor

#pragma once

#include <cstdint>
#include <span>
#include <string>

namespace meshplan::executor {

/// Samples by number, whatever they hold.
class SampleSet {
 public:
  virtual ~SampleSet() = default;

  virtual std::int64_t count() const = 0;
  /// Where the samples come from, for messages.
  virtual std::string name() const = 0;
  /// "of 9 sequences, 7 have two tokens or more": what count() was made of.
  virtual std::string describe() const = 0;
};

/// Samples of token ids, each a row of a batch, and for each position the id that it is to predict.
/// Safe to read from several threads.
class SampleSource : public SampleSet {
 public:
  /// Writes sample `index`, in [0, count), into spans of one length, and returns how many labels
  /// count. Where a sample is shorter than the spans, tokens stay 0 and labels kIgnoredLabel, as
  /// the caller has filled them. Throws kInvalidInput, naming data set and place, where a token id
  /// is not in the vocabulary.
  virtual std::int64_t fill(std::int64_t index, std::span<std::int64_t> tokens,
                            std::span<std::int64_t> labels) const = 0;
};

/// Samples of rows of numbers, for models that read no tokens. Safe to read from several threads.
class RowSource : public SampleSet {
 public:
  /// Numbers of a row.
  virtual std::int64_t width() const = 0;
  /// Writes sample `index`, in [0, count): rows one after the other, as many as `rows` holds, which
  /// is the same for all samples.
  virtual void fill(std::int64_t index, std::span<float> rows) const = 0;
};

}  // namespace meshplan::executor

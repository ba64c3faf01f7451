#pragma once

#include <vector>

#include "executor/data/sample_source.h"
#include "formats/indexed_dataset.h"

namespace meshplan::executor {

/// The sequences of at least two tokens, in the order of the file, one a sample: longer ones are
/// cut, shorter ones padded. A sequence of one token predicts nothing.
class PaddedSequences : public SampleSource {
 public:
  /// `dataset` outlives the samples. Throws kInvalidInput unless vocab_size is at least 1.
  PaddedSequences(const formats::IndexedDataset& dataset, std::int64_t vocab_size);

  std::int64_t count() const override { return static_cast<std::int64_t>(sequences_.size()); }
  std::int64_t fill(std::int64_t index, std::span<std::int64_t> tokens,
                    std::span<std::int64_t> labels) const override;
  std::string name() const override { return dataset_.prefix(); }
  std::string describe() const override;

 private:
  const formats::IndexedDataset& dataset_;
  std::int64_t vocab_size_;
  std::vector<std::int64_t> sequences_;
};

/// All sequences laid end to end and cut into windows of `window` positions that each predict their
/// next token, so that no position is padding. The tokens behind the last whole window are left
/// out. Attention and loss cross the joints, as in GPT-3's training (Brown et al. 2020, arXiv
/// 2005.14165, appendix B): sequences should end with an end of text.
class PackedWindows : public SampleSource {
 public:
  /// As above; `window` is at least 1.
  PackedWindows(const formats::IndexedDataset& dataset, std::int64_t vocab_size,
                std::int64_t window);

  std::int64_t count() const override;
  std::int64_t fill(std::int64_t index, std::span<std::int64_t> tokens,
                    std::span<std::int64_t> labels) const override;
  std::string name() const override { return dataset_.prefix(); }
  std::string describe() const override;

 private:
  const formats::IndexedDataset& dataset_;
  std::int64_t vocab_size_;
  std::int64_t window_;
  /// Tokens before each sequence, and of all at the end.
  std::vector<std::int64_t> starts_;
};

}  // namespace meshplan::executor

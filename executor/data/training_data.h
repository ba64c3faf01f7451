#pragma once

#include <memory>
#include <string>

#include "executor/data/batches.h"
#include "formats/indexed_dataset.h"
#include "formats/row_dataset.h"

namespace meshplan::executor {

/// What stands for made-up data where a data set is named.
inline constexpr const char* kSyntheticData = "synthetic";

/// Which samples to read, and how.
struct DataOptions {
  /// Prefix of an indexed dataset (of rows: a safetensors file), or kSyntheticData.
  std::string data;
  /// Windows of the sequences laid end to end, instead of a padded row for each.
  bool packing = false;
  std::int64_t vocab_size = 0;
  /// Numbers of a row, for models that read rows of them; 0: the model reads tokens.
  std::int64_t row_width = 0;
  BatchOptions batches;
};

/// A data set with all that makes batches of it.
class TrainingData {
 public:
  /// Throws kInvalidInput and kIo as the parts do.
  explicit TrainingData(const DataOptions& options);

  const SampleSet& samples() const { return *samples_; }
  BatchStream& batches() { return *batches_; }

 private:
  void open_tokens(const DataOptions& options);
  void open_rows(const DataOptions& options);

  std::unique_ptr<const formats::IndexedDataset> dataset_;
  std::unique_ptr<const formats::RowDataset> row_dataset_;
  std::unique_ptr<const SampleSet> samples_;
  std::unique_ptr<BatchStream> batches_;
};

}  // namespace meshplan::executor

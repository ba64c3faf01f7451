#pragma once

#include <memory>
#include <string>

#include "executor/data/batches.h"
#include "formats/indexed_dataset.h"

namespace meshplan::executor {

/// What stands for made-up data where a data set is named.
inline constexpr const char* kSyntheticData = "synthetic";

/// Which samples to read, and how.
struct DataOptions {
  /// Prefix of an indexed dataset, or kSyntheticData.
  std::string data;
  /// Windows of the sequences laid end to end, instead of a padded row for each.
  bool packing = false;
  std::int64_t vocab_size = 0;
  BatchOptions batches;
};

/// A data set with all that makes batches of it.
class TrainingData {
 public:
  /// Throws kInvalidInput and kIo as the parts do.
  explicit TrainingData(const DataOptions& options);

  const SampleSource& samples() const { return *samples_; }
  BatchStream& batches() { return *batches_; }

 private:
  std::unique_ptr<const formats::IndexedDataset> dataset_;
  std::unique_ptr<const SampleSource> samples_;
  std::unique_ptr<BatchStream> batches_;
};

}  // namespace meshplan::executor

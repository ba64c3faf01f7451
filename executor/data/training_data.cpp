#include "executor/data/training_data.h"

#include <utility>

#include "executor/data/dataset_samples.h"
#include "executor/data/row_samples.h"
#include "executor/data/synthetic_samples.h"

namespace meshplan::executor {

TrainingData::TrainingData(const DataOptions& options) {
  if (options.row_width > 0) {
    open_rows(options);
  } else {
    open_tokens(options);
  }
}

void TrainingData::open_tokens(const DataOptions& options) {
  std::unique_ptr<const SampleSource> tokens;
  if (options.data == kSyntheticData) {
    tokens = std::make_unique<SyntheticSamples>(static_cast<std::uint64_t>(options.batches.seed),
                                                options.vocab_size);
  } else {
    dataset_ = std::make_unique<const formats::IndexedDataset>(options.data);
    if (options.packing) {
      tokens = std::make_unique<PackedWindows>(*dataset_, options.vocab_size,
                                               options.batches.seq_length);
    } else {
      tokens = std::make_unique<PaddedSequences>(*dataset_, options.vocab_size);
    }
  }
  batches_ = std::make_unique<BatchStream>(*tokens, options.batches);
  samples_ = std::move(tokens);
}

void TrainingData::open_rows(const DataOptions& options) {
  std::unique_ptr<const RowSource> rows;
  if (options.data == kSyntheticData) {
    rows = std::make_unique<SyntheticRows>(static_cast<std::uint64_t>(options.batches.seed),
                                           options.row_width);
  } else {
    row_dataset_ = std::make_unique<const formats::RowDataset>(options.data, options.row_width);
    rows =
        std::make_unique<DatasetRows>(*row_dataset_, options.row_width, options.batches.seq_length);
  }
  batches_ = std::make_unique<BatchStream>(*rows, options.batches);
  samples_ = std::move(rows);
}

}  // namespace meshplan::executor

#include "executor/data/training_data.h"

#include "executor/data/dataset_samples.h"
#include "executor/data/synthetic_samples.h"

namespace meshplan::executor {

TrainingData::TrainingData(const DataOptions& options) {
  if (options.data == kSyntheticData) {
    samples_ = std::make_unique<SyntheticSamples>(static_cast<std::uint64_t>(options.batches.seed),
                                                  options.vocab_size);
  } else {
    dataset_ = std::make_unique<const formats::IndexedDataset>(options.data);
    if (options.packing) {
      samples_ = std::make_unique<PackedWindows>(*dataset_, options.vocab_size,
                                                 options.batches.seq_length);
    } else {
      samples_ = std::make_unique<PaddedSequences>(*dataset_, options.vocab_size);
    }
  }
  batches_ = std::make_unique<BatchStream>(*samples_, options.batches);
}

}  // namespace meshplan::executor

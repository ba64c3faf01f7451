#include <gtest/gtest.h>

#include <algorithm>
#include <set>
#include <vector>

#include "executor/data/dataset_samples.h"
#include "executor/data/synthetic_samples.h"
#include "executor/data/training_data.h"
#include "tests/common/expect_error.h"
#include "tests/common/temporary_folder.h"

namespace meshplan::executor {
namespace {

using common::ErrorCode;
using Numbers = std::vector<std::int64_t>;

/// A sample's tokens and labels.
struct Row {
  Numbers tokens;
  Numbers labels;
  std::int64_t count = 0;
};

Row row_of(const SampleSource& source, std::int64_t index, std::size_t length) {
  Row row{Numbers(length), Numbers(length, kIgnoredLabel)};
  row.count = source.fill(index, row.tokens, row.labels);
  return row;
}

class PackedWindowsTest : public testing::Test {
 protected:
  /// Sequences of these lengths that hold 1, 2, 3, ... when they are laid end to end.
  formats::IndexedDataset counting(const Numbers& lengths) {
    formats::IndexedDatasetWriter writer(prefix_, 1000);
    std::int64_t next = 1;
    for (const std::int64_t length : lengths) {
      Numbers tokens;
      for (std::int64_t i = 0; i < length; ++i) tokens.push_back(next++);
      writer.add(tokens);
    }
    writer.finish();
    return formats::IndexedDataset(prefix_);
  }

  tests::TemporaryFolder folder_;
  std::string prefix_ = folder_ / "data";
};

TEST_F(PackedWindowsTest, LieEndToEndWhateverTheSequences) {
  for (const Numbers& lengths :
       {Numbers{13}, Numbers{1, 5, 0, 7}, Numbers{0, 0, 4, 4, 4, 1}, Numbers(13, 1)}) {
    const formats::IndexedDataset data = counting(lengths);
    const PackedWindows windows(data, 1000, 4);
    ASSERT_EQ(windows.count(), 3) << "12 of 13 tokens predict one";
    for (std::int64_t i = 0; i < 3; ++i) {
      const Row row = row_of(windows, i, 4);
      EXPECT_EQ(row.tokens, (Numbers{4 * i + 1, 4 * i + 2, 4 * i + 3, 4 * i + 4}));
      EXPECT_EQ(row.labels, (Numbers{4 * i + 2, 4 * i + 3, 4 * i + 4, 4 * i + 5}));
      EXPECT_EQ(row.count, 4);
    }
  }
}

TEST_F(PackedWindowsTest, LeaveOutWhatFillsNoWindow) {
  EXPECT_EQ(PackedWindows(counting({12}), 1000, 4).count(), 2) << "the last label is missing";
  EXPECT_EQ(PackedWindows(counting({4}), 1000, 4).count(), 0);
  EXPECT_EQ(PackedWindows(counting({}), 1000, 4).count(), 0);
  const DataOptions options{.data = prefix_,
                            .packing = true,
                            .vocab_size = 1000,
                            .batches = {.seq_length = 4, .batch_size = 1}};
  tests::expect_error(
      ErrorCode::kInvalidInput, [&] { TrainingData data(options); }, "Dataloader is empty",
      "0 tokens are 0 windows of 4");
}

TEST_F(PackedWindowsTest, NameATokenBeyondTheVocabulary) {
  const formats::IndexedDataset data = counting({5, 5});
  tests::expect_error(
      ErrorCode::kInvalidInput, [&] { row_of(PackedWindows(data, 8, 4), 1, 4); }, prefix_,
      "sequence 1, position 2: token id 8");
}

TEST(SyntheticSamples, AreTheSameForASeedAndDifferBetweenSamples) {
  const SyntheticSamples samples(42, 100);
  std::set<Numbers> seen;
  for (std::int64_t i = 0; i < 50; ++i) {
    const Row row = row_of(samples, i, 16);
    EXPECT_EQ(row.tokens, row_of(SyntheticSamples(42, 100), i, 16).tokens);
    EXPECT_TRUE(seen.insert(row.tokens).second) << i;
    EXPECT_TRUE(std::equal(row.tokens.begin() + 1, row.tokens.end(), row.labels.begin()));
    for (const std::int64_t token : row.labels) EXPECT_TRUE(token >= 0 && token < 100) << token;
    EXPECT_EQ(row.count, 16);
  }
  EXPECT_NE(row_of(samples, 0, 16).tokens, row_of(SyntheticSamples(43, 100), 0, 16).tokens);
}

TEST(SyntheticSamples, MakeTheSameGlobalBatchOnEveryMesh) {
  const auto global_batch = [](std::int64_t dp, std::int64_t batch) {
    std::multiset<Numbers> rows;
    for (std::int64_t rank = 0; rank < dp; ++rank) {
      TrainingData data(
          {.data = kSyntheticData,
           .vocab_size = 100,
           .batches = {
               .seq_length = 8, .batch_size = batch, .dp_rank = rank, .dp_size = dp, .seed = 7}});
      const HostBatch read = data.batches().read({0, 3});
      for (auto row = read.tokens.begin(); row != read.tokens.end(); row += 8)
        rows.emplace(row, row + 8);
    }
    return rows;
  };
  const auto alone = global_batch(1, 4);
  EXPECT_EQ(alone.size(), 4u);
  EXPECT_EQ(global_batch(2, 2), alone);
  EXPECT_EQ(global_batch(4, 1), alone);
}

}  // namespace
}  // namespace meshplan::executor

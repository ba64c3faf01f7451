#include <gtest/gtest.h>

#include <algorithm>
#include <set>
#include <vector>

#include "executor/data/dataset_samples.h"
#include "executor/data/row_samples.h"
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

TEST(SyntheticRows, AreNearlyNormalAndTheSameEverywhere) {
  const SyntheticRows rows(42, 64);
  std::vector<float> numbers(64 * 64), again(64 * 64);
  double sum = 0, squares = 0;
  for (std::int64_t i = 0; i < 16; ++i) {
    rows.fill(i, numbers);
    SyntheticRows(42, 64).fill(i, again);
    EXPECT_EQ(numbers, again);
    for (const float number : numbers) {
      sum += number;
      squares += static_cast<double>(number) * number;
    }
  }
  const double count = 16 * 64 * 64;
  std::printf("mean %.4f, variance %.4f of %.0f numbers (tolerance 0.02)\n", sum / count,
              squares / count, count);
  EXPECT_NEAR(sum / count, 0, 0.02);
  EXPECT_NEAR(squares / count, 1, 0.02);
  SyntheticRows(43, 64).fill(0, again);
  rows.fill(0, numbers);
  EXPECT_NE(numbers, again);
  // On another machine, too.
  EXPECT_EQ(std::vector<float>(numbers.begin(), numbers.begin() + 3),
            (std::vector<float>{-1.04830623F, 0.749869943F, -2.16514277F}));
}

class RowBatches : public testing::Test {
 protected:
  /// Rows of `width` numbers, the first of which is the row's index.
  DataOptions written(std::int64_t count, std::int64_t width) {
    std::vector<float> rows(static_cast<std::size_t>(count * width), 0.5F);
    for (std::int64_t i = 0; i < count; ++i)
      rows[static_cast<std::size_t>(i * width)] = static_cast<float>(i);
    const formats::TensorToWrite tensor{.name = "rows", .shape = {count, width}};
    formats::write_safetensors(path_, std::span(&tensor, 1), [&](std::size_t) {
      return std::as_bytes(std::span<const float>(rows));
    });
    return {.data = path_, .row_width = width, .batches = {.seq_length = 1, .batch_size = 2}};
  }

  tests::TemporaryFolder folder_;
  std::string path_ = folder_ / "rows.safetensors";
};

TEST_F(RowBatches, HaveTheRowsOfTheirSamples) {
  DataOptions options = written(9, 3);
  options.batches.seq_length = 2;
  TrainingData data(options);
  EXPECT_EQ(data.samples().count(), 4);
  const HostBatch batch = data.batches().read({1, 1});
  ASSERT_EQ(batch.rows.size(), 2u * 2 * 3);
  EXPECT_TRUE(batch.tokens.empty() && batch.labels.empty());
  EXPECT_EQ(batch.label_count, 1) << "one sum";
  for (std::size_t i = 0; i < 2; ++i) {
    const auto first = static_cast<float>(2 * batch.samples[i]);
    EXPECT_EQ(batch.rows[6 * i], first);
    EXPECT_EQ(batch.rows[6 * i + 3], first + 1);
  }
  const Batch on_device = to_device(batch, at::kCPU, at::kBFloat16);
  EXPECT_EQ(on_device.rows.sizes(), (at::IntArrayRef{4, 3}));
  EXPECT_EQ(on_device.rows.scalar_type(), at::kBFloat16);
  EXPECT_FALSE(on_device.tokens.defined());
}

TEST_F(RowBatches, MadeUpOnesAreTheSameGlobalBatchOnEveryMesh) {
  const auto global_batch = [](std::int64_t dp, std::int64_t batch) {
    std::multiset<std::vector<float>> rows;
    for (std::int64_t rank = 0; rank < dp; ++rank) {
      TrainingData data(
          {.data = kSyntheticData,
           .row_width = 5,
           .batches = {
               .seq_length = 1, .batch_size = batch, .dp_rank = rank, .dp_size = dp, .seed = 7}});
      const HostBatch read = data.batches().read({0, 3});
      for (auto row = read.rows.begin(); row != read.rows.end(); row += 5)
        rows.emplace(row, row + 5);
    }
    return rows;
  };
  const auto alone = global_batch(1, 4);
  EXPECT_EQ(alone.size(), 4u);
  EXPECT_EQ(global_batch(2, 2), alone);
  EXPECT_EQ(global_batch(4, 1), alone);
}

TEST_F(RowBatches, AreRefusedWhereThereAreTooFew) {
  DataOptions options = written(3, 3);
  options.batches.seq_length = 2;
  tests::expect_error(
      ErrorCode::kInvalidInput, [&] { TrainingData data(options); }, "Dataloader is empty",
      "3 rows are 1 samples of 2");
}

}  // namespace
}  // namespace meshplan::executor

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <cstdint>
#include <string>
#include <vector>

#include "executor/data/batch_prefetcher.h"
#include "executor/data/batches.h"
#include "executor/data/dataset_samples.h"
#include "executor/data/distributed_sampler.h"
#include "formats/indexed_dataset.h"
#include "tests/common/expect_error.h"
#include "tests/common/temporary_folder.h"

namespace meshplan::executor {
namespace {

using common::ErrorCode;
using tests::expect_error;

using Numbers = std::vector<std::int64_t>;

std::vector<Numbers> deal_to_all(std::int64_t count, std::int64_t dp_size, std::int64_t seed,
                                 std::int64_t epoch, bool shuffle = true) {
  std::vector<Numbers> ranks;
  for (std::int64_t rank = 0; rank < dp_size; ++rank) {
    ranks.push_back(deal_samples({count, rank, dp_size, seed, shuffle}, epoch));
  }
  return ranks;
}

// The expected numbers were printed by torch 2.11's DistributedSampler(range(count), dp_size, rank,
// shuffle, seed).

TEST(DistributedSampler, DealsAsTorchDoes) {
  EXPECT_EQ(deal_to_all(10, 1, 42, 0), (std::vector<Numbers>{{2, 6, 1, 8, 4, 5, 0, 9, 3, 7}}));
  EXPECT_EQ(deal_to_all(10, 4, 42, 0),
            (std::vector<Numbers>{{2, 4, 3}, {6, 5, 7}, {1, 0, 2}, {8, 9, 6}}));
}

TEST(DistributedSampler, DealsAnewEachEpochAsTorchDoes) {
  EXPECT_EQ(deal_to_all(10, 4, 42, 1),
            (std::vector<Numbers>{{8, 5, 2}, {4, 1, 3}, {9, 6, 8}, {0, 7, 4}}));
}

TEST(DistributedSampler, RepeatsAsTorchDoesWhenThereAreFewerSamplesThanRanks) {
  EXPECT_EQ(deal_to_all(3, 8, 7, 0),
            (std::vector<Numbers>{{0}, {1}, {2}, {0}, {1}, {2}, {0}, {1}}));
  EXPECT_EQ(deal_to_all(1, 3, 0, 5), (std::vector<Numbers>{{0}, {0}, {0}}));
}

TEST(DistributedSampler, TakesSeedsBeyond32BitsAsTorchDoes) {
  EXPECT_EQ(deal_to_all(2, 5, 123456789012, 3), (std::vector<Numbers>{{1}, {0}, {1}, {0}, {1}}));
}

TEST(DistributedSampler, WithoutShufflingDealsInOrder) {
  EXPECT_EQ(deal_to_all(7, 2, 0, 0, false), (std::vector<Numbers>{{0, 2, 4, 6}, {1, 3, 5, 0}}));
}

TEST(DistributedSampler, DealsALargeSetAsTorchDoes) {
  const std::vector<Numbers> ranks = deal_to_all(100'000, 4, 1, 0);
  const Numbers expected = {212418834, 830826820, 16137327, 42728100};
  for (std::size_t rank = 0; rank < ranks.size(); ++rank) {
    EXPECT_EQ(ranks[rank].size(), 25'000u);
    std::int64_t digest = 0;
    for (const std::int64_t sample : ranks[rank]) digest = (digest * 31 + sample) % 1'000'000'007;
    EXPECT_EQ(digest, expected[rank]) << "rank " << rank;
  }
}

TEST(DistributedSampler, DealsEverySampleAndAtMostRepeatsTheFirst) {
  for (const std::int64_t dp_size : {1, 2, 3, 7, 16}) {
    std::vector<int> seen(20);
    for (const Numbers& rank : deal_to_all(20, dp_size, 3, 0)) {
      EXPECT_EQ(static_cast<std::int64_t>(rank.size()), (20 + dp_size - 1) / dp_size);
      for (const std::int64_t sample : rank) ++seen.at(static_cast<std::size_t>(sample));
    }
    for (const int times : seen) EXPECT_TRUE(times == 1 || times == 2) << "dp_size " << dp_size;
  }
}

class BatchStreamTest : public testing::Test {
 protected:
  /// Sequence i of the data set holds 10 i + 1, 10 i + 2, ... up to its length.
  formats::IndexedDataset dataset(const Numbers& lengths = {1, 5, 0, 3, 8, 2, 4, 7, 6}) {
    formats::IndexedDatasetWriter writer(prefix_, 1000);
    for (std::size_t i = 0; i < lengths.size(); ++i) {
      Numbers tokens;
      for (std::int64_t j = 1; j <= lengths[i]; ++j) {
        tokens.push_back(10 * static_cast<std::int64_t>(i) + j);
      }
      writer.add(tokens);
    }
    writer.finish();
    return formats::IndexedDataset(prefix_);
  }
  static BatchOptions options(std::int64_t dp_rank, std::int64_t dp_size) {
    return {.seq_length = 6, .batch_size = 2, .dp_rank = dp_rank, .dp_size = dp_size, .seed = 42};
  }

  tests::TemporaryFolder folder_;
  std::string prefix_ = folder_ / "data";
};

Numbers flat(const std::vector<Numbers>& rows) {
  Numbers values;
  for (const Numbers& row : rows) values.insert(values.end(), row.begin(), row.end());
  return values;
}

TEST_F(BatchStreamTest, GivesTheBatchesOfThePeer) {
  // Printed by tests/peers/fsdp2_tp_reference.py's data set under torch's DistributedSampler and
  // DataLoader: two ranks, each two epochs of two batches.
  const std::vector<std::vector<std::vector<Numbers>>> expected = {
      {{{31, 32, 33, 0, 0, 0}, {51, 52, 0, 0, 0, 0}},
       {{61, 62, 63, 64, 0, 0}, {41, 42, 43, 44, 45, 46}},
       {{51, 52, 0, 0, 0, 0}, {41, 42, 43, 44, 45, 46}},
       {{71, 72, 73, 74, 75, 76}, {81, 82, 83, 84, 85, 86}}},
      {{{81, 82, 83, 84, 85, 86}, {71, 72, 73, 74, 75, 76}},
       {{11, 12, 13, 14, 15, 0}, {31, 32, 33, 0, 0, 0}},
       {{31, 32, 33, 0, 0, 0}, {61, 62, 63, 64, 0, 0}},
       {{11, 12, 13, 14, 15, 0}, {51, 52, 0, 0, 0, 0}}}};
  const formats::IndexedDataset data = dataset();
  const PaddedSequences samples(data, 100);
  for (std::int64_t rank = 0; rank < 2; ++rank) {
    BatchStream stream(samples, options(rank, 2));
    EXPECT_EQ(stream.batches_per_epoch(), 2);
    for (std::int64_t i = 0; i < 4; ++i) {
      EXPECT_EQ(stream.read({i / 2, i % 2}).tokens,
                flat(expected[static_cast<std::size_t>(rank)][static_cast<std::size_t>(i)]));
    }
  }
}

TEST_F(BatchStreamTest, LabelsAreTheNextTokensAndEndWithTheSequence) {
  const formats::IndexedDataset data = dataset({8, 3});
  const PaddedSequences samples(data, 100);
  BatchOptions options = this->options(0, 1);
  options.shuffle = false;
  const HostBatch batch = BatchStream(samples, options).read({});
  EXPECT_EQ(batch.tokens, flat({{1, 2, 3, 4, 5, 6}, {11, 12, 13, 0, 0, 0}}));
  EXPECT_EQ(batch.labels, flat({{2, 3, 4, 5, 6, -100}, {12, 13, -100, -100, -100, -100}}));
  EXPECT_EQ(batch.label_count, 7);
  EXPECT_EQ(batch.samples, (Numbers{0, 1}));
}

TEST_F(BatchStreamTest, ABatchOnADeviceHasItsShapeAndCount) {
  const formats::IndexedDataset data = dataset();
  const PaddedSequences samples(data, 100);
  BatchStream stream(samples, options(0, 1));
  for (std::int64_t i = 0; i < 2 * stream.batches_per_epoch(); ++i) {
    const HostBatch host = stream.read({i / 3, i % 3});
    const Batch batch = to_device(host, at::kCPU);
    EXPECT_EQ(batch.label_count, batch.labels.ne(kIgnoredLabel).sum().item<std::int64_t>());
    EXPECT_EQ(batch.labels.scalar_type(), at::kLong);
    EXPECT_EQ(batch.tokens.sizes(), (std::vector<std::int64_t>{2, 6}));
    EXPECT_EQ(batch.labels.sizes(), batch.tokens.sizes());
    EXPECT_TRUE(at::equal(batch.tokens.view(-1), at::tensor(host.tokens, at::kLong)));
  }
}

TEST_F(BatchStreamTest, TheOrderOfReadingDoesNotMatter) {
  const formats::IndexedDataset data = dataset();
  const PaddedSequences samples(data, 100);
  BatchStream forward(samples, options(0, 1));
  BatchStream backward(samples, options(0, 1));
  ASSERT_EQ(forward.batches_per_epoch(), 3) << "7 samples, the last incomplete batch dropped";
  std::vector<Numbers> read;
  for (std::int64_t i = 0; i < 9; ++i) read.push_back(forward.read({i / 3, i % 3}).tokens);
  for (std::int64_t i = 8; i >= 0; --i)
    EXPECT_EQ(backward.read({i / 3, i % 3}).tokens, read[static_cast<std::size_t>(i)]) << i;
  expect_error(
      ErrorCode::kInvalidInput,
      [&] {
        forward.read({0, 3});
      },
      "batch of the epoch", "0 to 2");
}

TEST_F(BatchStreamTest, APrefetcherGivesTheStepsInOrderFromAnywhere) {
  const formats::IndexedDataset data = dataset();
  const PaddedSequences samples(data, 100);
  BatchOptions options = this->options(0, 1);
  options.batch_size = 1;
  BatchStream stream(samples, options);
  BatchStream ahead(samples, options);
  // Seven batches an epoch are three steps of two.
  for (std::int64_t first = 0; first < 3; ++first) {
    BatchPrefetcher prefetcher(ahead, {.accumulation = 2, .steps_per_epoch = 3}, {1, 2 * first});
    for (std::int64_t step = 3 + first; step < 12; ++step) {
      const std::vector<HostBatch> batches = prefetcher.next();
      ASSERT_EQ(batches.size(), 2u);
      for (std::int64_t i = 0; i < 2; ++i) {
        EXPECT_EQ(batches[static_cast<std::size_t>(i)].tokens,
                  stream.read({step / 3, step % 3 * 2 + i}).tokens)
            << "step " << step;
      }
    }
  }
}

TEST_F(BatchStreamTest, APrefetcherThrowsWhenTheStepThatFailedIsTaken) {
  const formats::IndexedDataset data = dataset({2, 4});
  const PaddedSequences samples(data, 13);
  BatchOptions options = this->options(0, 1);
  options.batch_size = 1;
  options.shuffle = false;
  BatchStream stream(samples, options);
  BatchPrefetcher prefetcher(stream, {.accumulation = 1, .steps_per_epoch = 2}, {});
  EXPECT_EQ(prefetcher.next().front().tokens, (Numbers{1, 2, 0, 0, 0, 0}));
  for (int attempt = 0; attempt < 2; ++attempt) {
    expect_error(
        ErrorCode::kInvalidInput, [&] { prefetcher.next(); }, "token id 13");
  }
}

TEST_F(BatchStreamTest, AnEmptyLoaderSaysCountsAndRemedy) {
  const formats::IndexedDataset data = dataset({4, 1, 4, 4});
  const PaddedSequences samples(data, 100);
  expect_error(
      ErrorCode::kInvalidInput, [&] { BatchStream stream(samples, options(0, 3)); }, prefix_,
      "Dataloader is empty", "4 sequences", "3 have two tokens", "1 for each of 3", "fewer",
      "smaller", "more data");
}

TEST_F(BatchStreamTest, ADatasetWithoutSamplesIsEmptyToo) {
  for (const Numbers& lengths : {Numbers{}, Numbers{1, 0, 1}}) {
    const formats::IndexedDataset data = dataset(lengths);
    const PaddedSequences samples(data, 100);
    expect_error(
        ErrorCode::kInvalidInput, [&] { BatchStream stream(samples, options(0, 1)); },
        "Dataloader is empty");
  }
}

TEST_F(BatchStreamTest, NamesATokenThatIsNotInTheVocabulary) {
  const formats::IndexedDataset data = dataset({2, 4});
  const PaddedSequences samples(data, 13);
  BatchStream stream(samples, options(0, 1));
  expect_error(
      ErrorCode::kInvalidInput, [&] { stream.read({}); }, prefix_,
      "sequence 1, position 2: token id 13", "vocabulary size 13");
}

TEST_F(BatchStreamTest, NamesATokenThatIsNegative) {
  formats::IndexedDatasetWriter writer(prefix_, 70'000);
  writer.add(Numbers{1, 2});
  writer.finish();
  const std::int32_t negative = -5;
  tests::write_quickly(
      prefix_ + ".bin",
      std::string("\1\0\0\0", 4) + std::string(reinterpret_cast<const char*>(&negative), 4));
  const formats::IndexedDataset data(prefix_);
  const PaddedSequences samples(data, 100);
  BatchOptions options = this->options(0, 1);
  options.batch_size = 1;
  BatchStream stream(samples, options);
  expect_error(
      ErrorCode::kInvalidInput, [&] { stream.read({}); }, "position 1: token id -5");
}

TEST_F(BatchStreamTest, ATokenCutOffIsNotLookedAt) {
  const formats::IndexedDataset data = dataset({8, 8});
  const PaddedSequences samples(data, 17);
  EXPECT_EQ(BatchStream(samples, options(0, 1)).read({}).label_count, 10);
}

TEST_F(BatchStreamTest, RefusesOptionsOutOfRange) {
  const formats::IndexedDataset data = dataset();
  const PaddedSequences samples(data, 100);
  const auto refused = [&](std::int64_t BatchOptions::*field, std::int64_t value,
                           const char* name) {
    BatchOptions options = this->options(0, 1);
    options.*field = value;
    expect_error(
        ErrorCode::kInvalidInput, [&] { BatchStream stream(samples, options); }, name,
        std::to_string(value));
  };
  refused(&BatchOptions::seq_length, 1, "sequence length");
  refused(&BatchOptions::batch_size, 0, "batch size");
  refused(&BatchOptions::dp_size, 0, "data-parallel size");
  refused(&BatchOptions::dp_rank, 1, "data-parallel rank");
  refused(&BatchOptions::dp_rank, -1, "data-parallel rank");
  refused(&BatchOptions::seed, -1, "seed");
  refused(&BatchOptions::seq_length, std::int64_t{1} << 62, "batch");
  expect_error(
      ErrorCode::kInvalidInput, [&] { PaddedSequences none(data, 0); }, "vocabulary size", "0");
}

}  // namespace
}  // namespace meshplan::executor

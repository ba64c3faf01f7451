#include "executor/data/batch_agreement.h"

#include <gtest/gtest.h>

#include <future>
#include <torch/csrc/distributed/c10d/HashStore.hpp>
#include <vector>

#include "common/error.h"

namespace meshplan::executor {
namespace {

/// What the ranks of a mesh dp x tp, each with its first batch, say of one another: the message of
/// each, empty where it is content.
std::vector<std::string> check_all(std::int64_t dp, std::int64_t tp,
                                   const std::vector<HostBatch>& batches,
                                   const std::vector<std::int64_t>& sample_counts) {
  planner::DeviceMesh mesh;
  mesh.sizes[planner::Axis::kDpShard] = dp;
  mesh.sizes[planner::Axis::kTp] = tp;
  const auto store = c10::make_intrusive<c10d::HashStore>();
  std::vector<std::future<std::string>> ranks;
  for (std::int64_t rank = 0; rank < dp * tp; ++rank) {
    ranks.push_back(std::async(std::launch::async, [&, rank]() -> std::string {
      const auto at = static_cast<std::size_t>(rank);
      try {
        check_batch_agreement(*store, mesh, rank, sample_counts[at], batches[at]);
        return "";
      } catch (const common::Error& error) {
        return error.what();
      }
    }));
  }
  std::vector<std::string> said;
  for (auto& rank : ranks) said.push_back(rank.get());
  return said;
}

HostBatch batch_of(std::int64_t sample) {
  return {.tokens = {1, 2, sample}, .labels = {2, sample, -100}, .samples = {sample}};
}

const std::vector<std::int64_t> kCounts(4, 10);

TEST(BatchAgreement, HoldsForIdenticalBatchesInAGroupAndDifferentGroups) {
  const std::vector<std::string> said =
      check_all(2, 2, {batch_of(3), batch_of(3), batch_of(5), batch_of(5)}, kCounts);
  EXPECT_EQ(said, std::vector<std::string>(4));
}

TEST(BatchAgreement, FindsATensorParallelRankWithOtherData) {
  const auto said = check_all(2, 2, {batch_of(3), batch_of(3), batch_of(5), batch_of(6)}, kCounts);
  EXPECT_EQ(said[0] + said[1] + said[2], "");
  EXPECT_NE(said[3].find("rank 3 has batches"), std::string::npos) << said[3];
  EXPECT_NE(said[3].find("rank 2 has"), std::string::npos) << said[3];
}

TEST(BatchAgreement, FindsDataParallelRanksWithTheSameSamples) {
  const auto said = check_all(2, 2, std::vector<HostBatch>(4, batch_of(3)), kCounts);
  EXPECT_NE(said[0].find("ranks 0 and 2 are different data-parallel ranks"), std::string::npos)
      << said[0];
}

TEST(BatchAgreement, LetsSamplesBeDealtTwiceWhereThereAreTooFew) {
  EXPECT_EQ(check_all(2, 1, {batch_of(0), batch_of(0)}, {1, 1}), std::vector<std::string>(2));
}

TEST(BatchAgreement, FindsANodeWithOtherFiles) {
  const auto said = check_all(2, 1, {batch_of(0), batch_of(1)}, {10, 9});
  EXPECT_NE(said[1].find("rank 1 has samples 9, rank 0 has 10"), std::string::npos) << said[1];
}

}  // namespace
}  // namespace meshplan::executor

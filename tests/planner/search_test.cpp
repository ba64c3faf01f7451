#include "planner/search/search.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>

#include <algorithm>
#include <set>

#include "common/error.h"
#include "tests/common/expect_error.h"
#include "tests/planner/random_plans.h"

namespace meshplan::planner {
namespace {

struct Case {
  ModelSpec model;
  ClusterSpec cluster;
  Job job;
  SearchRequest request;
};

/// A cluster of up to 64 ranks whose memory is about what the layouts need.
Case any_case() {
  Case c{any_model(), load_cluster(*rc::gen::element("local-cpu", "h100-sxm")), any_job(), {}};
  c.cluster.nodes = *rc::gen::element<std::int64_t>(1, 2, 3);
  c.cluster.devices_per_node = *rc::gen::element<std::int64_t>(1, 4, 6, 8);
  c.cluster.reserved_memory = common::Bytes(0);
  c.cluster.device.memory = common::Bytes(*rc::gen::inRange<std::int64_t>(1 << 20, 20 << 20));
  c.request.base.accumulation = *rc::gen::element<std::int64_t>(1, 3);
  c.request.base.blocks_kept_gathered =
      *rc::gen::inRange<std::int64_t>(0, c.model.num_hidden_layers + 1);
  c.cluster.price = common::PricePerHour(2.5);
  c.cluster.device.power = common::Watts(300);
  c.request.objective = *rc::gen::element(Objective::kThroughput, Objective::kMemory,
                                          Objective::kCost, Objective::kEnergy);
  if (*rc::gen::arbitrary<bool>()) {
    c.request.global_batch_size = *rc::gen::element<std::int64_t>(1, 24, 48, 64, 1024);
  }
  if (*rc::gen::arbitrary<bool>()) c.request.loss_chunks = *rc::gen::element<std::int64_t>(1, 9);
  return c;
}

SearchResult search(const Case& c) { return planner::search(c.model, c.cluster, c.job, c.request); }

/// Mesh and microbatch, which name a layout among those of a search.
using Key = std::array<std::int64_t, 4>;

Key key_of(const Layout& layout) {
  const AxisSizes& sizes = layout.mesh.sizes;
  return {sizes[Axis::kTp], sizes[Axis::kDpReplicate], sizes[Axis::kDpShard],
          layout.microbatch_size};
}

/// The layout of a mesh and microbatch, as the request has it; nothing where the global batch is no
/// multiple.
std::optional<Layout> layout_for(const Case& c, const Key& key) {
  Layout layout = c.request.base;
  layout.mesh.ranks_per_node = c.cluster.devices_per_node;
  layout.mesh.sizes[Axis::kTp] = key[0];
  layout.mesh.sizes[Axis::kDpReplicate] = key[1];
  layout.mesh.sizes[Axis::kDpShard] = key[2];
  layout.microbatch_size = key[3];
  if (c.request.global_batch_size) {
    const std::int64_t once = key[1] * key[2] * key[3];
    if (*c.request.global_batch_size % once != 0) return std::nullopt;
    layout.accumulation = *c.request.global_batch_size / once;
  }
  layout.sequence_parallel = default_sequence_parallel(c.model, layout, c.job);
  layout.loss_chunks = c.request.loss_chunks.value_or(1);
  if (!c.request.loss_chunks) layout.loss_chunks = default_loss_chunks(c.model, c.job, layout);
  return layout;
}

/// Every mesh of the cluster with every microbatch of 1, 2, 4 ... 64.
std::vector<Key> enumeration(std::int64_t world) {
  std::vector<Key> keys;
  for (std::int64_t tp = 1; tp <= world; ++tp) {
    for (std::int64_t replicas = 1; tp * replicas <= world; ++replicas) {
      if (world % (tp * replicas) != 0) continue;
      for (std::int64_t microbatch = 1; microbatch <= 64; microbatch *= 2) {
        keys.push_back({tp, replicas, world / tp / replicas, microbatch});
      }
    }
  }
  return keys;
}

RC_GTEST_PROP(Search, RanksExactlyTheValidAndFittingLayouts, ()) {
  const Case c = any_case();
  std::set<Key> expected;
  for (const Key& key : enumeration(world_size(c.cluster))) {
    const std::optional<Layout> layout = layout_for(c, key);
    if (!layout || !violations(c.model, c.cluster, c.job, *layout).empty()) continue;
    if (estimate(c.model, c.cluster, c.job, *layout).fits) expected.insert(key);
  }
  std::set<Key> ranked;
  for (const Candidate& candidate : search(c).ranked) {
    RC_ASSERT(ranked.insert(key_of(candidate.layout)).second);
    RC_ASSERT(candidate.layout == *layout_for(c, key_of(candidate.layout)));
    RC_ASSERT(candidate.estimate.fits);
    RC_ASSERT(to_json(candidate.estimate) ==
              to_json(estimate(c.model, c.cluster, c.job, candidate.layout)));
  }
  RC_CLASSIFY(!expected.empty(), "some fit");
  RC_ASSERT(ranked == expected);
}

RC_GTEST_PROP(Search, SortsByTheObjectiveAndThenByTheOrderOfEnumeration, ()) {
  const Case c = any_case();
  const std::vector<Candidate> ranked = search(c).ranked;
  const auto scored = [&c](const Candidate& candidate) {
    return score(candidate.estimate, c.cluster, c.request.objective);
  };
  for (std::size_t i = 1; i < ranked.size(); ++i) {
    const double before = scored(ranked[i - 1]);
    const double after = scored(ranked[i]);
    RC_ASSERT(before <= after);
    if (before < after) continue;
    const Key a = key_of(ranked[i - 1].layout);
    const Key b = key_of(ranked[i].layout);
    RC_ASSERT((std::array{a[0], a[1], a[3]} < std::array{b[0], b[1], b[3]}));
  }
}

RC_GTEST_PROP(Search, RejectsEachLayoutOnceWithItsReason, ()) {
  const Case c = any_case();
  const SearchResult found = search(c);
  std::set<Key> seen;
  for (const Candidate& candidate : found.ranked) seen.insert(key_of(candidate.layout));
  for (const Rejection& rejection : found.rejected) {
    RC_ASSERT(seen.insert(key_of(rejection.layout)).second);
    RC_ASSERT(!rejection.reason.empty());
    const auto broken = violations(c.model, c.cluster, c.job, rejection.layout);
    if (!broken.empty()) {
      RC_ASSERT(rejection.reason == to_string(broken) ||
                rejection.reason.starts_with("global_batch_size="));
    } else if (!rejection.reason.starts_with("global_batch_size=")) {
      RC_ASSERT(rejection.reason.starts_with("needs "));
      RC_ASSERT(!estimate(c.model, c.cluster, c.job, rejection.layout).fits);
    }
  }
  // No mesh is passed over in silence.
  for (const Key& key : enumeration(world_size(c.cluster))) {
    RC_ASSERT(key[3] > 1 || seen.contains(key));
  }
}

RC_GTEST_PROP(Search, KeepsTheGlobalBatch, ()) {
  Case c = any_case();
  c.request.global_batch_size = *rc::gen::element<std::int64_t>(24, 48, 64, 1024);
  for (const Candidate& candidate : search(c).ranked) {
    RC_ASSERT(global_batch_size(candidate.layout) == *c.request.global_batch_size);
  }
}

RC_GTEST_PROP(Search, GivesTheSameTwice, ()) {
  const Case c = any_case();
  const auto text = [](const SearchResult& result) {
    std::string all;
    for (const auto& [layout, priced] : result.ranked) {
      all += to_json(layout).dump() + to_json(priced).dump();
    }
    for (const Rejection& rejection : result.rejected)
      all += to_json(rejection.layout).dump() + rejection.reason;
    return all;
  };
  RC_ASSERT(text(search(c)) == text(search(c)));
}

/// Memory is so tight that the buffers of accumulation decide.
TEST(Search, FindsTheWholeBatchAsOneMicrobatchWhereAccumulationDoesNotFit) {
  Case c{small_model(2), load_cluster("local-cpu"), small_job(), {}};
  c.model.vocab_size = 50'000;
  c.job.seq_length = 1;
  c.cluster.devices_per_node = 2;
  c.request.tp = {1};
  c.request.dp_shard = {2};
  c.request.global_batch_size = 8;
  const auto priced = [&c](std::int64_t microbatch) {
    return estimate(c.model, c.cluster, c.job, *layout_for(c, {1, 1, 2, microbatch}));
  };
  ASSERT_LT(priced(4).memory.peak_device, priced(1).memory.peak_device);
  c.cluster.device.memory = priced(4).memory.peak_device;
  const SearchResult found = search(c);
  ASSERT_EQ(found.ranked.size(), 1u);
  EXPECT_EQ(found.ranked.front().layout.microbatch_size, 4);
  EXPECT_EQ(found.ranked.front().layout.accumulation, 1);
}

TEST(Search, TriesOnlyWhatIsAllowed) {
  Case c{small_model(), load_cluster("local-cpu"), small_job(), {}};
  c.cluster.devices_per_node = 16;
  c.request.tp = {2, 4};
  c.request.dp_replicate = {2};
  c.request.microbatch_size = 3;
  std::set<Key> keys;
  const SearchResult found = search(c);
  for (const Candidate& candidate : found.ranked) keys.insert(key_of(candidate.layout));
  EXPECT_EQ(keys, (std::set<Key>{{2, 2, 4, 3}, {4, 2, 2, 3}}));
  EXPECT_TRUE(found.rejected.empty());
  c.request.dp_shard = {4};
  EXPECT_EQ(search(c).ranked.size(), 1u);
}

TEST(Search, SaysHowMuchIsMissingAndWhere) {
  Case c{small_model(), load_cluster("local-cpu"), small_job(), {}};
  c.cluster.device.memory = common::Bytes(1 << 10);
  const SearchResult found = search(c);
  EXPECT_TRUE(found.ranked.empty());
  ASSERT_FALSE(found.rejected.empty());
  EXPECT_THAT(found.rejected.front().reason,
              testing::MatchesRegex("needs [0-9.]+ MiB of 1.00 KiB; the peak is in .+"));
}

TEST(Search, RefusesSizesThatAreNotPositive) {
  const auto expect_refused = [](const char* where, auto&& change) {
    Case c{small_model(), load_cluster("local-cpu"), small_job(), {}};
    change(c.request);
    tests::expect_error(
        common::ErrorCode::kInvalidInput, [&c] { search(c); }, where, "must be at least 1");
  };
  expect_refused("tp", [](SearchRequest& request) { request.tp = {1, 0}; });
  expect_refused("dp_shard", [](SearchRequest& request) { request.dp_shard = {-4}; });
  expect_refused("dp_replicate", [](SearchRequest& request) { request.dp_replicate = {0}; });
  expect_refused("microbatch_size", [](SearchRequest& request) { request.microbatch_size = 0; });
  expect_refused("global_batch_size",
                 [](SearchRequest& request) { request.global_batch_size = 0; });
  expect_refused("loss_chunks", [](SearchRequest& request) { request.loss_chunks = -1; });
}

TEST(Search, ChunksTheLossSoThatLogitsStaySmall) {
  const ModelSpec model = load_model("llama-3-8b");
  Job job;
  job.seq_length = 8192;
  Layout layout = layout_of({.tp = 8});
  layout.microbatch_size = 2;
  const std::int64_t chunks = default_loss_chunks(model, job, layout);
  const std::int64_t rows = (16384 + chunks - 1) / chunks;
  EXPECT_LE(rows * 128'256 / 8 * 4, 64 << 20);
  EXPECT_GT((16384 + chunks - 2) / (chunks - 1) * 128'256 / 8 * 4, 64 << 20);
  layout.mesh.sizes[Axis::kTp] = 1;
  layout.microbatch_size = 100'000;
  EXPECT_EQ(default_loss_chunks(model, job, layout), kMaxLossChunks);
}

}  // namespace
}  // namespace meshplan::planner

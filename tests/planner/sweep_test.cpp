#include "planner/explain/sweep.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "planner/search/automatic_sizes.h"
#include "tests/common/expect_error.h"
#include "tests/planner/plans.h"

namespace meshplan::planner {
namespace {

using common::ErrorCode;
using testing::ElementsAre;
using testing::HasSubstr;

bool always(std::size_t, std::size_t) { return true; }

SweepInputs inputs_of(const char* cluster = "h100-sxm") {
  SweepInputs inputs{.model = load_model("qwen2.5-0.5b"),
                     .cluster = cluster,
                     .changes = {},
                     .job = {},
                     .request = {}};
  inputs.job.seq_length = 1024;
  inputs.job.param_dtype = common::DataType::kBfloat16;
  return inputs;
}

Sweep swept(const SweepInputs& inputs, const std::vector<std::string>& vary) {
  std::vector<Variation> variations;
  for (const std::string& text : vary) variations.push_back(parse_variation(text, "--vary"));
  return sweep(inputs, variations, always);
}

TEST(Variation, IsAListOrARange) {
  const auto values = [](const char* text) { return parse_variation(text, "--vary").values; };
  EXPECT_THAT(values("nodes=1,2,4"), ElementsAre(1, 2, 4));
  EXPECT_THAT(values("nodes=4"), ElementsAre(4));
  EXPECT_THAT(values("nodes=1:7:2"), ElementsAre(1, 3, 5, 7));
  EXPECT_THAT(values("nodes=1:8:2"), ElementsAre(1, 3, 5, 7));
  EXPECT_THAT(values("seq-length=1024:8192:x2"), ElementsAre(1024, 2048, 4096, 8192));
  EXPECT_THAT(values("seq_length=100:300:x1.5"), ElementsAre(100, 150, 225));
  EXPECT_EQ(values("inter-bandwidth=0.1:1:0.1").size(), 10u);
  EXPECT_THAT(values("memory=0.5,1"), ElementsAre(0.5, 1));
}

TEST(Variation, RefusesWhatItCannotRead) {
  for (const auto& [text, part] :
       {std::pair{"nodes", "must be an input and its values"},
        {"nodes=", "must be an input and its values"},
        {"colour=1", "'colour' cannot be varied; use seq-length, microbatch-size"},
        {"nodes=two", "'two' must be a number"},
        {"nodes=1,,2", "'' must be a number"},
        {"nodes=1.5", "must be an integer from 1 to 1000000"},
        {"nodes=0", "must be an integer from 1 to 1000000"},
        {"gpus-per-node=2000", "must be an integer from 1 to 1024"},
        {"seq-length=1e300", "must be an integer from 1 to 2147483648"},
        {"seq-length=nan", "must be a number"},
        {"memory=0", "must be a factor from 0.001 to 1000"},
        {"nodes=1:2", "a,b,c or from:to:step or from:to:xfactor"},
        {"nodes=8:1:1", "must not fall"},
        {"nodes=1:8:0", "a step above 0"},
        {"nodes=1:8:x1", "x and a factor above 1"},
        {"nodes=1:8:-1", "a step above 0"},
        {"seq-length=1:100000:1", "more than 1000 values"},
        {"inter-bandwidth=0.001:1:1e-9", "more than 1000 values"}}) {
    tests::expect_error(
        ErrorCode::kInvalidInput, [text = text] { parse_variation(text, "--vary"); }, "--vary",
        part);
  }
}

TEST(Sweep, GivesAtEachPointWhatASearchGivesThere) {
  const SweepInputs inputs = inputs_of();
  const Sweep sweep = swept(inputs, {"nodes=1,2", "seq-length=512:2048:x2"});
  ASSERT_EQ(sweep.points.size(), 6u);
  for (const SweepPoint& point : sweep.points) {
    Job job = inputs.job;
    job.seq_length = static_cast<std::int64_t>(point.values[1]);
    const ClusterSpec cluster =
        load_cluster("h100-sxm", {.nodes = static_cast<std::int64_t>(point.values[0])});
    const SearchResult found = search(inputs.model, cluster, job, inputs.request);
    ASSERT_TRUE(point.best.has_value());
    EXPECT_EQ(point.best->layout, found.ranked.front().layout);
    EXPECT_EQ(to_json(point.best->estimate), to_json(found.ranked.front().estimate));
    EXPECT_EQ(point.fit, found.ranked.size());
    EXPECT_EQ(point.rejected, found.rejected.size());
  }
}

TEST(Sweep, FactorsChangeWhatTheyName) {
  SweepInputs inputs = inputs_of();
  inputs.changes.nodes = 2;
  inputs.request.tp = {1};
  inputs.request.microbatch_size = 1;
  const auto step = [&](const char* vary) {
    return swept(inputs, {vary}).points.front().best->estimate;
  };
  const Estimate as_is = step("latency=1");
  // All adapters of a node carry as much as the links within it: more of them is of no use.
  EXPECT_EQ(step("inter-bandwidth=4").step_time, as_is.step_time);
  EXPECT_LT(step("inter-bandwidth=0.5").step_time, step("inter-bandwidth=0.25").step_time);
  EXPECT_GT(step("inter-bandwidth=0.25").step_time, as_is.step_time);
  EXPECT_GT(step("latency=10").step_time, as_is.step_time);
  EXPECT_EQ(step("memory=0.5").memory.capacity.value, as_is.memory.capacity.value / 2);
  inputs.changes.nodes = 1;
  EXPECT_GT(step("intra-bandwidth=0.01").step_time, step("intra-bandwidth=1").step_time);
}

TEST(Sweep, SaysTheLeastNeedWhereNothingFits) {
  const Sweep sweep = swept(inputs_of(), {"memory=0.02,1"});
  const SweepPoint& small = sweep.points.front();
  EXPECT_FALSE(small.best.has_value());
  EXPECT_THAT(small.nothing, HasSubstr("the least, tp="));
  EXPECT_THAT(small.nothing, HasSubstr("needs "));
  EXPECT_GT(small.least_need.value, 0);
  EXPECT_TRUE(sweep.points.back().best.has_value());
  const common::Json json = to_json(sweep);
  EXPECT_TRUE(json["points"][0]["layout"].is_null());
  EXPECT_EQ(json["points"][0]["least_need_bytes"], small.least_need.value);
  EXPECT_TRUE(json["points"][1]["reason"].is_null());
}

TEST(Sweep, SaysWhatRuleHoldsNothingBack) {
  const Sweep sweep = swept(inputs_of(), {"seq-length=1000000"});
  EXPECT_THAT(sweep.points.front().nothing, HasSubstr("max_position_embeddings"));
  SweepInputs inputs = inputs_of();
  inputs.request.tp = {3};
  EXPECT_THAT(swept(inputs, {"nodes=1"}).points.front().nothing,
              HasSubstr("no mesh of 8 ranks has the sizes allowed"));
}

TEST(Sweep, AutomaticSizesFollowTheCluster) {
  SweepInputs inputs = inputs_of();
  inputs.model = load_model("gpt-3-175b");
  inputs.cluster = "h200-sxm";
  inputs.request.tp = {kAutomaticSize};
  inputs.request.dp_shard = {kAutomaticSize};
  for (const SweepPoint& point : swept(inputs, {"nodes=8,16", "gpus-per-node=4,8"}).points) {
    ASSERT_TRUE(point.best.has_value()) << point.nothing;
    const AxisSizes& sizes = point.best->layout.mesh.sizes;
    EXPECT_EQ(sizes[Axis::kDpShard], static_cast<std::int64_t>(point.values[0]));
    EXPECT_EQ(sizes[Axis::kTp], static_cast<std::int64_t>(point.values[1]));
  }
}

TEST(Sweep, RefusesTheSameInputTwiceAndTooManyPoints) {
  tests::expect_error(
      ErrorCode::kInvalidInput,
      [] {
        swept(inputs_of(), {"nodes=1", "nodes=2"});
      },
      "varied twice");
  tests::expect_error(
      ErrorCode::kInvalidInput,
      [] {
        swept(inputs_of(), {"nodes=1:100:1", "seq-length=1:11:1"});
      },
      "1100 points or more; use at most 1000");
  tests::expect_error(
      ErrorCode::kInvalidInput, [] { sweep(inputs_of(), {}, always); }, "nothing is varied");
}

TEST(Sweep, EndsWhereItIsInterrupted) {
  tests::expect_error(
      ErrorCode::kInterrupted,
      [] {
        sweep(inputs_of(), {parse_variation("nodes=1,2,3", "--vary")},
              [](std::size_t done, std::size_t) { return done < 1; });
      },
      "interrupted after 1 of 3 points");
}

}  // namespace
}  // namespace meshplan::planner

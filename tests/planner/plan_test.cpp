#include "planner/plan/plan.h"

#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>

#include "common/file.h"
#include "tests/common/expect_error.h"
#include "tests/common/temporary_folder.h"
#include "tests/planner/random_plans.h"

namespace meshplan::planner {
namespace {

using common::ErrorCode;
using common::Json;

Plan good_plan() {
  const Layout layout = layout_of({.dp_shard = 2, .tp = 2});
  return plan_of(small_model(), cpu_cluster(layout), small_job(), layout);
}

template <class... Parts>
void expect_refused(const Json& json, const Parts&... parts) {
  tests::expect_error(
      ErrorCode::kInvalidInput, [&json] { read_plan(json, "plan.json"); }, parts...);
}

RC_GTEST_PROP(Plan, IsReadBackIdentically, ()) {
  Plan plan = any_plan_over_all_axes(any_model());
  // What small_model has beyond its family's config is not written to a config.json.
  plan.model.family = plan.model.qk_norm ? ModelFamily::kQwen3 : ModelFamily::kLlama;
  plan.model.attention_output_bias = plan.model.qkv_bias;
  const std::string text = to_json(plan).dump(2);
  const Plan read = read_plan(common::parse_json(text, "plan.json"), "plan.json");
  RC_ASSERT(to_json(read).dump(2) == text);
  RC_ASSERT(read.model == plan.model);
  RC_ASSERT(read.model_source == plan.model_source);
  RC_ASSERT(read.cluster == plan.cluster);
  RC_ASSERT(read.job == plan.job);
  RC_ASSERT(read.layout == plan.layout);
}

TEST(Plan, OfEveryFamilyIsReadBackIdentically) {
  for (const char* name : {"llama-3.1-8b", "mistral-7b-v0.1", "qwen2.5-0.5b", "qwen3-0.6b"}) {
    Plan plan = good_plan();
    plan.model = load_model(name);
    plan.estimate = estimate(plan.model, plan.cluster, plan.job, plan.layout);
    ASSERT_TRUE(plan.estimate.violations.empty()) << to_string(plan.estimate.violations);
    const Plan read = read_plan(to_json(plan), "plan.json");
    EXPECT_EQ(read.model, plan.model) << name;
    EXPECT_EQ(to_json(read).dump(), to_json(plan).dump()) << name;
  }
}

TEST(Plan, IsSavedAndLoadedIdentically) {
  const tests::TemporaryFolder folder;
  const Plan plan = good_plan();
  save_plan(plan, folder / "deep" / "plan.json");
  EXPECT_EQ(to_json(load_plan(folder / "deep" / "plan.json")).dump(), to_json(plan).dump());
  tests::expect_error(
      ErrorCode::kIo, [&] { load_plan(folder / "none.json"); }, "none.json");
}

TEST(Plan, RefusesAnUnknownKeyWhereverItIs) {
  for (const char* place :
       {"/speed", "/job/speed", "/layout/speed", "/estimate/speed", "/cluster/speed"}) {
    Json json = to_json(good_plan());
    json[Json::json_pointer(place)] = 1;
    expect_refused(json, "unknown key", "speed");
  }
}

TEST(Plan, RefusesAMissingKeyWhereverItIs) {
  const std::vector<std::vector<std::string>> places = {{"model"},
                                                        {"model_source"},
                                                        {"cluster"},
                                                        {"job"},
                                                        {"layout"},
                                                        {"estimate"},
                                                        {"job", "seq_length"},
                                                        {"layout", "tp"},
                                                        {"layout", "accumulation"},
                                                        {"layout", "sharding"},
                                                        {"estimate", "mfu"},
                                                        {"cluster", "overlap"},
                                                        {"schema_version"}};
  for (const auto& place : places) {
    Json json = to_json(good_plan());
    Json* object = &json;
    for (std::size_t i = 0; i + 1 < place.size(); ++i) object = &(*object)[place[i]];
    object->erase(place.back());
    expect_refused(json, "plan.json", place.back());
  }
}

/// Plans of earlier versions do not have them.
TEST(Plan, OptionsMayBeLeftOut) {
  const Plan plan = good_plan();
  Json json = to_json(plan);
  for (const char* option : {"virtual_stages", "async_tp", "optimizer_offload"})
    EXPECT_EQ(json["layout"].erase(option), 1u) << option;
  for (const char* option : {"matmul_dtype", "moment_dtype"})
    EXPECT_EQ(json["job"].erase(option), 1u) << option;
  EXPECT_EQ(json["estimate"]["memory"].erase("host_memory_bytes"), 1u);
  EXPECT_EQ(to_json(read_plan(json, "plan.json")), to_json(plan));
}

TEST(Plan, SaysHowFarAheadUnitsAreGatheredWhereThatIsNotOne) {
  Plan plan = good_plan();
  EXPECT_FALSE(to_json(plan)["layout"].contains("prefetch_depth"));
  plan.layout.prefetch_depth = 2;
  EXPECT_EQ(read_plan(to_json(plan), "plan.json").layout, plan.layout);
}

TEST(Plan, RefusesAnotherSchemaVersion) {
  Json json = to_json(good_plan());
  json["schema_version"] = 2;
  expect_refused(json, "plan.json.schema_version", "is 2", "reads 1", "make the plan again");
}

TEST(Plan, RefusesWrongTypesAndNames) {
  const auto with = [](const char* pointer, const Json& value) {
    Json json = to_json(good_plan());
    json[Json::json_pointer(pointer)] = value;
    return json;
  };
  expect_refused(with("/layout/tp", "two"), "plan.json.layout.tp");
  expect_refused(with("/layout/microbatch_size", 1.5), "plan.json.layout.microbatch_size");
  expect_refused(with("/layout/ranks_per_node", 0), "plan.json.layout.ranks_per_node");
  expect_refused(with("/layout/sharding", "zero3"), "plan.json.layout.sharding", "full_shard");
  expect_refused(with("/layout/activation_checkpointing", "some"), "none, selective, full");
  expect_refused(with("/layout/virtual_stages", 0), "plan.json.layout.virtual_stages");
  expect_refused(with("/layout/prefetch_depth", -1), "plan.json.layout.prefetch_depth");
  expect_refused(with("/layout/async_tp", 1), "plan.json.layout.async_tp");
  expect_refused(with("/job/param_dtype", "int8"), "plan.json.job.param_dtype");
  expect_refused(with("/job/param_dtype", "float8"), "plan.json.job.param_dtype");
  expect_refused(with("/job/matmul_dtype", "int8"), "plan.json.job.matmul_dtype", "float8");
  expect_refused(with("/job/loss_normalization", "mean"), "global_tokens, per_rank");
  expect_refused(with("/job/max_grad_norm", -1), "plan.json.job.max_grad_norm");
  expect_refused(Json::array(), "plan.json", "must be a JSON object");
}

TEST(Plan, RefusesAnInvalidLayoutWithEveryViolation) {
  Json json = to_json(good_plan());
  json["layout"]["tp"] = 3;
  json["layout"]["sharding"] = "hybrid_shard";
  json["layout"]["blocks_kept_gathered"] = 100;
  expect_refused(json, "plan.json.layout", "tp=3: must divide num_key_value_heads=4; use 1, 2 or 4",
                 "tp=3: must divide num_attention_heads=8",
                 "hybrid_shard needs at least 2 replicas", "blocks_kept_gathered=100",
                 "must equal the cluster's 1 node x 4 devices = 4");
}

}  // namespace
}  // namespace meshplan::planner

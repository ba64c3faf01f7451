#include "planner/cost/estimate.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>

#include <cmath>

#include "common/error.h"
#include "planner/model/parameter_table.h"
#include "tests/common/expect_error.h"
#include "tests/planner/random_plans.h"

namespace meshplan::planner {
namespace {

using common::Json;
using testing::ElementsAre;

std::vector<std::string> keys_of(const Json& object) {
  std::vector<std::string> keys;
  for (const auto& [key, value] : object.items()) keys.push_back(key);
  return keys;
}

Estimate through_text(const Estimate& estimate) {
  const Json json = common::parse_json(to_json(estimate).dump(2), "estimate");
  return read_estimate(common::JsonObject(json, "estimate"));
}

TEST(Estimate, JsonHasTheKeysOfTheContract) {
  const Layout layout = layout_of({.dp_shard = 2, .tp = 2});
  const Json json = to_json(estimate(small_model(), cpu_cluster(layout), small_job(), layout));
  EXPECT_THAT(keys_of(json), ElementsAre("schema_version", "valid", "violations", "fits", "memory",
                                         "communication", "first_order", "compute", "step_time_s",
                                         "tokens_per_second_per_gpu", "mfu"));
  EXPECT_THAT(keys_of(json["memory"]),
              ElementsAre("peak_allocated_bytes", "peak_reserved_bytes", "peak_device_bytes",
                          "capacity_bytes", "peak_instruction", "peak_stage", "host_memory_bytes",
                          "breakdown"));
  EXPECT_THAT(keys_of(json["memory"]["breakdown"]),
              ElementsAre("parameters", "gradients", "optimizer", "gathered_parameters",
                          "activations", "logits", "communication_buffers", "temporaries"));
  EXPECT_THAT(keys_of(json["communication"]),
              ElementsAre("tp", "dp_shard", "dp_replicate", "cp", "pp"));
  for (const auto& [axis, entry] : json["communication"].items()) {
    EXPECT_THAT(keys_of(entry), ElementsAre("bytes_per_rank", "wire_bytes_per_rank", "operations",
                                            "time_s", "exposed_s"));
  }
  EXPECT_THAT(keys_of(json["compute"]),
              ElementsAre("model_flops_per_rank", "hardware_flops_per_rank", "time_s"));
  EXPECT_EQ(json["schema_version"], 1);
  EXPECT_EQ(json["valid"], true);
  EXPECT_EQ(json["fits"], true);
  EXPECT_TRUE(json["violations"].empty());
}

RC_GTEST_PROP(Estimate, IsReadBackFromItsJsonIdentically, ()) {
  const Estimate priced = any_plan_over_all_axes().estimate;
  RC_ASSERT(to_json(through_text(priced)) == to_json(priced));
}

TEST(Estimate, OfAnInvalidLayoutIsItsViolations) {
  const Layout layout = layout_of({.dp_shard = 2, .tp = 3});
  ModelSpec model = small_model();
  model.intermediate_size = 255;
  model.num_attention_heads = 12;
  const Estimate found = estimate(model, cpu_cluster(layout), small_job(), layout);
  const Json json = to_json(found);
  EXPECT_EQ(json["valid"], false);
  EXPECT_EQ(json["fits"], false);
  EXPECT_EQ(json["violations"], Json::parse(R"([{"code": "tp_divides_num_key_value_heads",
                "message": "tp=3: must divide num_key_value_heads=4; use 1, 2 or 4"}])"));
  EXPECT_EQ(to_json(through_text(found)), json);
}

TEST(Estimate, RefusesJsonThatIsNotItsOwn) {
  const Layout layout = layout_of({});
  const Json good = to_json(estimate(small_model(), cpu_cluster(layout), small_job(), layout));
  const auto expect_refused = [&good](const char* pointer, const Json& value, const char* where) {
    Json bad = good;
    bad[Json::json_pointer(pointer)] = value;
    tests::expect_error(
        common::ErrorCode::kInvalidInput,
        [&bad] { read_estimate(common::JsonObject(bad, "estimate")); }, where);
  };
  expect_refused("/schema_version", 2, "estimate.schema_version");
  expect_refused("/valid", false, "estimate.valid");
  expect_refused("/speed", 1, "estimate.speed");
  expect_refused("/memory/extra", 1, "estimate.memory.extra");
  expect_refused("/memory/breakdown/other", 1, "estimate.memory.breakdown.other");
  expect_refused("/communication/ep", Json::object(), "estimate.communication.ep");
  expect_refused("/communication/tp/bytes", 1, "estimate.communication.tp.bytes");
  expect_refused("/first_order/extra", 1, "estimate.first_order.extra");
  expect_refused("/compute/extra", 1, "estimate.compute.extra");
  expect_refused("/mfu", "much", "estimate.mfu");
  expect_refused("/memory/peak_allocated_bytes", -1, "estimate.memory.peak_allocated_bytes");
}

RC_GTEST_PROP(Estimate, RatesFollowFromTimes, ()) {
  const Plan plan = any_plan();
  const Estimate& priced = plan.estimate;
  const double tokens = static_cast<double>(global_batch_size(plan.layout) * plan.job.seq_length);
  const auto ranks = static_cast<double>(world_size(plan.layout.mesh));
  const double rate = tokens / ranks / priced.step_time.value;
  RC_ASSERT(std::abs(priced.tokens_per_second_per_gpu / rate - 1) < 1e-12);
  const double peak = matmul_peak(plan.cluster.device, plan.job.param_dtype).value;
  const double mfu = priced.model_flops.value / (peak * priced.step_time.value);
  RC_ASSERT(std::abs(priced.mfu / mfu - 1) < 1e-12);
  RC_ASSERT(priced.mfu > 0 && priced.mfu < 1);
}

TEST(Estimate, FitsIsDecidedByDeviceMemoryAgainstCapacity) {
  const Layout layout = layout_of({.dp_shard = 2});
  ClusterSpec cluster = cpu_cluster(layout);
  cluster.reserved_memory = common::Bytes(1000);
  const auto price = [&] { return estimate(small_model(), cluster, small_job(), layout); };
  cluster.device.memory = price().memory.peak_device;
  EXPECT_TRUE(price().fits);
  EXPECT_EQ(price().memory.peak_device, price().memory.peak_reserved + common::Bytes(1000));
  cluster.device.memory -= common::Bytes(1);
  EXPECT_FALSE(price().fits);
  EXPECT_GT(price().step_time.value, 0) << "what does not fit is priced all the same";
}

TEST(Estimate, FirstOrderVolumesAreTheFormulasOfTheField) {
  const ModelSpec model = load_model("llama-3-8b");
  Job job;
  job.seq_length = 8192;
  job.param_dtype = common::DataType::kBfloat16;
  Layout layout = layout_of({.dp_shard = 8});
  layout.microbatch_size = 3;
  layout.loss_chunks = 16;
  ClusterSpec cluster = load_cluster("h100-sxm");
  const Estimate priced = estimate(model, cluster, job, layout);
  ASSERT_TRUE(priced.violations.empty());
  EXPECT_EQ(priced.first_order.tp_activations.value, 32ll * 4096 * 8192 * 3 * 2 * 2);
  EXPECT_EQ(priced.first_order.fsdp_parameters.value, 2 * 8'030'261'248);
}

TEST(Estimate, ModelFlopsAreSixPerWeightAndTwelvePerAttendedPosition) {
  const ModelSpec model = load_model("llama-3-8b");
  Job job;
  job.seq_length = 8192;
  job.param_dtype = common::DataType::kBfloat16;
  Layout layout = layout_of({.dp_shard = 4, .tp = 2});
  layout.accumulation = 5;
  layout.loss_chunks = 16;
  const Estimate priced = estimate(model, load_cluster("h100-sxm"), job, layout);
  ASSERT_TRUE(priced.violations.empty());
  const double per_token = 6.0 * (8'030'261'248.0 - 128'256.0 * 4096) + 12.0 * 32 * 4096 * 8192;
  EXPECT_DOUBLE_EQ(priced.model_flops.value, per_token * 2 * 5 * 8192 / 2);
  // Attention is counted in full by the model's FLOPs, and by half, once forward and 2.5 times
  // backward, by the kernels'; the norms are no matrix multiplies.
  const double kernels =
      6.0 * (8'030'261'248.0 - 128'256.0 * 4096 - 65 * 4096) + 7.0 * 32 * 4096 * 8192;
  EXPECT_NEAR(priced.hardware_flops.value / (kernels * 5 * 8192), 1, 1e-9);
}

}  // namespace
}  // namespace meshplan::planner

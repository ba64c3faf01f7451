#include "planner/runtime/runtime_estimate.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "planner/cluster/gpu_catalog.h"
#include "tests/planner/peer_runs.h"
#include "tests/planner/plans.h"

namespace meshplan::planner {
namespace {

using testing::HasSubstr;

/// Llama 3 8B on two nodes of eight H100.
RuntimeRequest request_of(const char* runtime) {
  RuntimeRequest request{.runtime = find_runtime(runtime),
                         .model = load_model("llama-3-8b"),
                         .cluster = load_cluster("h100-sxm", {.nodes = 2}),
                         .job = {},
                         .layout = layout_of({.dp_shard = 2, .tp = 8})};
  request.job.seq_length = 8192;
  request.job.param_dtype = common::DataType::kBfloat16;
  request.layout.mesh.ranks_per_node = 8;
  request.layout.microbatch_size = 1;
  request.layout.sequence_parallel = true;
  if (std::string(runtime) == "megatron" || std::string(runtime) == "nanotron")
    request.layout.sharding = Sharding::kShardOptimizer;
  return request;
}

std::vector<std::string> codes_of(const RuntimeEstimate& estimate) {
  std::vector<std::string> codes;
  for (const Violation& violation : estimate.violations) codes.push_back(violation.code);
  return codes;
}

TEST(RuntimeEstimate, PricesTheRunThatValidateWould) {
  for (const char* name :
       {"torch_eager", "torch_compile", "torch_aot_eager", "megatron", "nanotron"}) {
    const RuntimeRequest request = request_of(name);
    const RuntimeEstimate priced = estimate(request);
    ASSERT_EQ(to_string(priced.violations), "") << name;
    PeerRun run = eight_billion(name);
    run.hardware.network = *parse_network("ib-ndr-400-per-gpu", 8);
    run.mesh = request.layout.mesh;
    run.sharding = request.layout.sharding;
    run.sequence_parallel = true;
    const PeerEstimate peer = estimate(run);
    EXPECT_EQ(priced.peer.step_time, peer.step_time) << name;
    EXPECT_EQ(priced.peer.peak_reserved, peer.peak_reserved) << name;
    EXPECT_TRUE(priced.fits) << name;
    EXPECT_GT(priced.mfu, 0.1) << name;
    EXPECT_LT(priced.mfu, 0.7) << name;
  }
}

TEST(RuntimeEstimate, HasTheKeysOfAnEstimateThatAPeerHas) {
  const common::Json json = to_json(estimate(request_of("torch_compile")));
  const common::Json own = to_json(planner::estimate(small_model(), load_cluster("h100-sxm"),
                                                     small_job(), layout_of({.dp_shard = 8})));
  for (const auto& [key, value] : json.items())
    EXPECT_TRUE(own.contains(key) || key == "runtime" || key == "assumed") << key;
  for (const auto& [key, value] : json["memory"].items())
    EXPECT_TRUE(own["memory"].contains(key)) << key;
  EXPECT_EQ(json["runtime"], "torch_compile");
  EXPECT_EQ(json["assumed"]["state_bytes_per_parameter"], 16);
  EXPECT_GT(json["cost"]["price_per_million_tokens"], 0);
}

TEST(RuntimeEstimate, TakesWhatTheRuntimeCallsSelective) {
  const auto assumed = [](const char* runtime) {
    RuntimeRequest request = request_of(runtime);
    request.layout.activation_checkpointing = ActivationCheckpointing::kSelective;
    return to_json(estimate(request))["assumed"]["activation_checkpointing"];
  };
  EXPECT_EQ(assumed("torch_eager"), "selective_op");
  EXPECT_EQ(assumed("megatron"), "selective_attention");
}

TEST(RuntimeEstimate, HoldsAllStatesInBfloat16WhereTheRuntimeCan) {
  RuntimeRequest request = request_of("torch_eager");
  request.layout.mesh.sizes[Axis::kTp] = 1;
  request.layout.mesh.sizes[Axis::kDpShard] = 16;
  request.layout.sequence_parallel = false;
  const common::Bytes mixed = estimate(request).peer.peak_allocated;
  request.job.master_dtype = common::DataType::kBfloat16;
  EXPECT_LT(estimate(request).peer.peak_allocated, mixed);
  request.runtime = find_runtime("megatron");
  request.layout.sharding = Sharding::kShardOptimizer;
  EXPECT_THAT(codes_of(estimate(request)), testing::ElementsAre("runtime_data_type"));
}

TEST(RuntimeEstimate, SaysAllThatARuntimeLacksAtOnce) {
  RuntimeRequest request = request_of("nanotron");
  request.layout.sharding = Sharding::kFullShard;
  request.layout.activation_checkpointing = ActivationCheckpointing::kSelective;
  request.layout.checkpointed_blocks = 3;
  request.job.param_dtype = common::DataType::kFloat32;
  request.cluster.network = "ethernet-100";
  request.cluster.device.name = "Abacus";
  EXPECT_THAT(codes_of(estimate(request)),
              testing::UnorderedElementsAre("runtime_sharding", "runtime_checkpointing",
                                            "runtime_checkpointing", "runtime_data_type",
                                            "runtime_device", "runtime_network"));
  const common::Json json = to_json(estimate(request));
  EXPECT_EQ(json["valid"], false);
  EXPECT_THAT(json["violations"][0]["message"].get<std::string>(),
              HasSubstr("runtime=nanotron: has no sharding=full_shard; use shard_optimizer, "
                        "no_shard"));
  request = request_of("composer_fsdp1");
  EXPECT_THAT(codes_of(estimate(request)), testing::ElementsAre("runtime_axis"));
}

TEST(RuntimeEstimate, GivesALayoutsOwnViolationsFirst) {
  RuntimeRequest request = request_of("megatron");
  request.layout.mesh.sizes[Axis::kTp] = 3;
  EXPECT_THAT(codes_of(estimate(request)), testing::Contains("tp_divides_num_key_value_heads"));
}

TEST(Hardware, TakesDatasheetFiguresFromTheCatalog) {
  for (const char* name : {"a100-40gb-sxm", "a100-80gb-sxm", "h100-sxm", "h100-96gb-500w",
                           "h200-sxm", "b200-sxm", "gb200", "mi300x", "l40s", "rtx-4090"}) {
    const GpuFigures& gpu = *find_gpu(name);
    const GpuEntry entry = load_gpu(name, "test");
    EXPECT_EQ(gpu.peak, entry.device.bfloat16_peak) << name;
    EXPECT_EQ(gpu.memory, entry.device.memory) << name;
    EXPECT_EQ(gpu.memory_bandwidth, entry.nominal_memory_bandwidth) << name;
    EXPECT_EQ(gpu.link, entry.link_bandwidth) << name;
    EXPECT_EQ(find_gpu_of(load_cluster(name).device), &gpu) << name;
  }
  DeviceSpec device;
  device.name = "NVIDIA H100 80GB HBM3";
  EXPECT_EQ(find_gpu_of(device), find_gpu("h100-sxm")) << "as a driver calls it";
  EXPECT_EQ(find_gpu_of(load_cluster("local-cpu").device), nullptr);
}

}  // namespace
}  // namespace meshplan::planner

#include "planner/runtime/peer_estimate.h"

#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>

#include <cmath>
#include <set>

#include "planner/runtime/stage_share.h"
#include "tests/planner/peer_runs.h"

namespace meshplan::planner {
namespace {

using common::Bytes;
using common::Flops;

double gib(Bytes bytes) { return static_cast<double>(bytes.value) / 0x1p30; }

/// Any run within the limits, small or huge.
PeerRun any_run() {
  PeerRun run =
      eight_billion(*rc::gen::element("torch_eager", "torch_compile", "torch_aot_eager", "megatron",
                                      "nanotron", "composer_fsdp1", "meshplan"));
  const auto up_to = [](std::int64_t limit) {
    const int bits = *rc::gen::inRange(0, 64 - __builtin_clzll(static_cast<std::uint64_t>(limit)));
    return *rc::gen::inRange<std::int64_t>(1, (std::int64_t{1} << bits) + 1);
  };
  PeerModel& model = run.model;
  model.num_hidden_layers = up_to(kMaxPeerLayers / 2);
  model.hidden_size = up_to(kMaxPeerWidth / 2);
  model.intermediate_size = up_to(kMaxPeerWidth / 2);
  model.num_attention_heads = up_to(model.hidden_size);
  model.num_key_value_heads = up_to(model.num_attention_heads);
  model.head_dim = std::max<std::int64_t>(1, model.hidden_size / model.num_attention_heads);
  model.vocab_size = up_to(kMaxPeerWidth / 2);
  model.gated_mlp = *rc::gen::arbitrary<bool>();
  for (Axis axis : kAxes) run.mesh.sizes[axis] = up_to(64);
  run.mesh.ranks_per_node = *rc::gen::element<std::int64_t>(1, 2, 4, 8, 72);
  run.virtual_stages = *rc::gen::inRange(1, 9);
  run.sharding = *rc::gen::element(Sharding::kFullShard, Sharding::kShardGradOp,
                                   Sharding::kShardOptimizer, Sharding::kNoShard);
  run.checkpointing =
      *rc::gen::element(PeerCheckpointing::kNone, PeerCheckpointing::kFull,
                        PeerCheckpointing::kSelectiveOp, PeerCheckpointing::kSelectiveAttention,
                        PeerCheckpointing::kSelectiveGraph, PeerCheckpointing::kSecondBlocks);
  run.sequence_parallel = *rc::gen::arbitrary<bool>();
  run.async_tp = *rc::gen::arbitrary<bool>();
  run.fp8 = *rc::gen::arbitrary<bool>();
  run.fused_attention = *rc::gen::arbitrary<bool>();
  run.seq_length = up_to(1 << 20);
  run.microbatch_size = up_to(1 << 11);
  run.accumulation = up_to(1 << 12);
  return run;
}

RC_GTEST_PROP(PeerEstimate, IsFiniteAndPositiveForEveryRun, ()) {
  const PeerRun run = any_run();
  const PeerEstimate result = estimate(run);
  RC_ASSERT(std::isfinite(result.step_time.value));
  RC_ASSERT(result.step_time.value > 0.0);
  RC_ASSERT(result.tokens_per_second > 0.0);
  RC_ASSERT(result.peak_allocated.value > 0);
  RC_ASSERT(result.peak_reserved >= result.peak_allocated);
}

RC_GTEST_PROP(PeerEstimate, FreesWhatItAllocatesOnlyOnce, ()) {
  const PeerRun run = any_run();
  for (const bool first : {true, false}) {
    std::int64_t standing = 0;
    for (const Operation& operation : stage_memory(run, first)) {
      if (operation.kind == OperationKind::kAllocate) standing += operation.bytes.value;
      if (operation.kind == OperationKind::kFree) standing -= operation.bytes.value;
      RC_ASSERT(standing >= 0);
    }
  }
}

RC_GTEST_PROP(PeerEstimate, MoreShardsNeverTakeMoreMemory, ()) {
  PeerRun run = any_run();
  run.sharding = Sharding::kFullShard;
  run.mesh.sizes[Axis::kDpShard] = std::max<std::int64_t>(2, run.mesh.sizes[Axis::kDpShard]);
  const Bytes few = estimate(run).peak_allocated;
  run.mesh.sizes[Axis::kDpShard] *= 2;
  // Sizes are rounded down to bytes one by one.
  RC_ASSERT(estimate(run).peak_allocated.value <= few.value + 16);
}

/// Tokens and ranks of any size, on GPUs and networks of any kind.
PeerRun any_run_that_shards() {
  PeerRun run = any_run();
  const auto gpu = *rc::gen::element("a100-40gb-sxm", "a100-80gb-sxm", "h100-sxm", "h200-sxm",
                                     "b200-sxm", "gb200", "mi300x", "l40s", "rtx-4090");
  const auto network = *rc::gen::element("efa-3200", "roce-1600", "ib-ndr-400-per-gpu");
  run.hardware.gpu = find_gpu(gpu);
  run.hardware.network = *parse_network(network, run.mesh.ranks_per_node);
  run.sharding = Sharding::kFullShard;
  return run;
}

RC_GTEST_PROP(PeerEstimate, MoreGpusAtEqualWorkEachAreNeverFasterEach, ()) {
  PeerRun run = any_run_that_shards();
  // Within eights of a node, and over whole nodes, which is how clusters are used.
  run.mesh = {};
  run.mesh.ranks_per_node = 8;
  run.mesh.sizes[Axis::kDpShard] = *rc::gen::element<std::int64_t>(8, 16, 64, 256);
  run.mesh.sizes[Axis::kTp] = *rc::gen::element<std::int64_t>(1, 2, 8);
  const double few = estimate(run).tokens_per_second_per_gpu;
  run.mesh.sizes[Axis::kDpReplicate] = 2;
  RC_ASSERT(estimate(run).tokens_per_second_per_gpu <= few * (1 + 1e-9));
}

RC_GTEST_PROP(PeerEstimate, HardwareTwiceAsFastTakesHalfTheTimeButForLatency, ()) {
  const PeerRun slow = any_run_that_shards();
  GpuFigures gpu = *slow.hardware.gpu;
  gpu.peak = gpu.peak * 2;
  gpu.memory_bandwidth = gpu.memory_bandwidth * 2;
  gpu.link = gpu.link * 2;
  PeerRun fast = slow;
  fast.hardware.gpu = &gpu;
  fast.hardware.network.nominal = fast.hardware.network.nominal * 2;
  const double before = estimate(slow).step_time.value;
  const double after = estimate(fast).step_time.value;
  RC_ASSERT(after <= before * (1 + 1e-9));
  RC_ASSERT(after >= before / 2 * (1 - 1e-9));
}

RC_GTEST_PROP(PeerEstimate, MoreTensorParallelRanksNeverTakeMoreMemory, ()) {
  PeerRun run = eight_billion(*rc::gen::element("torch_eager", "torch_compile", "megatron"));
  run.sequence_parallel = true;
  run.sharding =
      run.runtime->zero1_whole_bytes > 0 ? Sharding::kShardOptimizer : Sharding::kFullShard;
  run.microbatch_size = *rc::gen::inRange(1, 9);
  run.mesh.sizes[Axis::kTp] = *rc::gen::element<std::int64_t>(2, 4);
  const Bytes few = estimate(run).peak_allocated;
  run.mesh.sizes[Axis::kTp] *= 2;
  RC_ASSERT(estimate(run).peak_allocated <= few);
}

TEST(PeerEstimate, GpusWithoutRowsRunAsTheirDatasheetSays) {
  // On one GPU multiplies count most: speeds are in proportion to peaks, but for shares and memory.
  PeerRun run = eight_billion("torch_compile");
  run.mesh.sizes[Axis::kDpShard] = 1;
  run.hardware.gpu = find_gpu("a100-80gb-sxm");
  const double reference = estimate(run).step_time.value;
  for (const char* name : {"l40s", "rtx-4090", "gb200", "mi300x"}) {
    run.hardware.gpu = find_gpu(name);
    const double peaks = run.hardware.gpu->peak.value / find_gpu("a100-80gb-sxm")->peak.value;
    const double speed = reference / estimate(run).step_time.value;
    EXPECT_GT(speed, 0.4 * peaks) << name;
    EXPECT_LT(speed, 1.3 * peaks) << name;
  }
}

TEST(PeerEstimate, UnfusedAttentionTakesTimeAndFiveBytesAScore) {
  PeerRun run = eight_billion("megatron");
  run.sharding = Sharding::kShardOptimizer;
  run.seq_length = 2048;
  const PeerEstimate fused = estimate(run);
  run.fused_attention = false;
  const PeerEstimate unfused = estimate(run);
  EXPECT_GT(unfused.step_time, 1.05 * fused.step_time);
  const double scores = 5.0 * 32 * 2048 * 2048 / 0x1p30;
  const double blocks = 32 + run.runtime->working_blocks;
  EXPECT_NEAR(gib(unfused.peak_allocated) - gib(fused.peak_allocated), blocks * scores, scores);
  run.checkpointing = PeerCheckpointing::kSelectiveAttention;
  EXPECT_LT(gib(estimate(run).peak_allocated), gib(fused.peak_allocated) + 3 * scores)
      << "scores are computed again";
}

TEST(PeerEstimate, FullCheckpointingTradesTimeForMemory) {
  PeerRun run = eight_billion();
  const PeerEstimate none = estimate(run);
  run.checkpointing = PeerCheckpointing::kFull;
  const PeerEstimate full = estimate(run);
  EXPECT_GT(full.step_time, none.step_time);
  EXPECT_LT(full.peak_allocated, none.peak_allocated);
}

TEST(PeerEstimate, KeepingParametersGatheredTradesMemoryForTime) {
  PeerRun run = eight_billion();
  const PeerEstimate resharded = estimate(run);
  run.sharding = Sharding::kShardGradOp;
  const PeerEstimate kept = estimate(run);
  EXPECT_LT(kept.step_time, resharded.step_time);
  EXPECT_GT(kept.peak_allocated, resharded.peak_allocated);
}

TEST(PeerEstimate, MatmulsOfABlockAreSixFlopsAParameterAndToken) {
  const PeerRun run = eight_billion();
  const PeerProgram program = build_peer_program(run);
  double flops = 0;
  for (const auto* lists : {&program.forward, &program.backward}) {
    for (const RepeatedOperations& list : *lists) {
      for (const Operation& operation : list.operations) {
        if (operation.kind == OperationKind::kKernel && operation.kernel == KernelKind::kMatmul)
          flops += list.repeats * operation.flops.value;
      }
    }
  }
  EXPECT_DOUBLE_EQ(flops, 6 * block_parameters(run.model) * 8192);
}

TEST(PeerEstimate, ZeroOneHoldsSixBytesWholeAndTheRestInShards) {
  PeerRun run = eight_billion("megatron");
  run.sharding = Sharding::kShardOptimizer;
  run.mesh.sizes[Axis::kDpShard] = 1;
  run.accumulation = 2;
  const auto peak = [&](std::int64_t copies) {
    run.mesh.sizes[Axis::kDpReplicate] = copies;
    return gib(estimate(run).peak_allocated);
  };
  const double n = parameters(run.model) / 0x1p30;
  EXPECT_NEAR(peak(2) - peak(4), 12 * n * (0.5 - 0.25), 0.01 * n);
}

/// nanotron on nodes of eight H100 with EFA: tp 8, `stages`, the rest data parallel.
PeerRun on_nodes(std::int64_t nodes, std::int64_t stages) {
  PeerRun run = eight_billion("nanotron");
  run.sequence_parallel = true;
  run.sharding = Sharding::kShardOptimizer;
  run.hardware.network = *parse_network("efa-3200", 8);
  run.mesh = {};
  run.mesh.ranks_per_node = 8;
  run.mesh.sizes[Axis::kTp] = 8;
  run.mesh.sizes[Axis::kPp] = stages;
  run.mesh.sizes[Axis::kDpReplicate] = nodes / stages;
  run.accumulation = 16;
  return run;
}

TEST(PeerEstimate, TensorParallelCollectivesHideBesideTheMultipliesThatDoNotNeedThem) {
  PeerRun run = on_nodes(2, 1);
  run.runtime = find_runtime("megatron");
  RuntimeProfile waits = *run.runtime;
  waits.tp_overlap = 0;
  const double overlapped = estimate(run).step_time.value;
  run.runtime = &waits;
  const double waited = estimate(run).step_time.value;
  // At least one of the six collectives of a block's backward pass, at most four.
  const GroupShape group{.ranks = 8, .stride = 1, .ranks_per_node = 8};
  const double one =
      collective_time(run.hardware, CollectiveKind::kAllGather, Bytes(2 * 8192 * 4096), group)
          .value *
      waits.tp_skew * 32 * 16;
  EXPECT_LT(overlapped, waited - one);
  EXPECT_GE(overlapped, waited - 4.001 * one);
}

TEST(PeerEstimate, MessagesBetweenStagesOnManyGpusTakeAQuarterOfASecond) {
  const RuntimeProfile& runtime = *find_runtime("nanotron");
  const auto excess = [&](std::int64_t nodes, std::int64_t stages) {
    PeerRun run = on_nodes(nodes, stages);
    RuntimeProfile quick = runtime;
    quick.crowded_message_time = common::Seconds(0);
    const double slow = estimate(run).step_time.value;
    run.runtime = &quick;
    return (slow - estimate(run).step_time.value) / runtime.crowded_message_time.value;
  };
  EXPECT_DOUBLE_EQ(excess(32, 4), 0);
  EXPECT_DOUBLE_EQ(excess(64, 1), 0);
  EXPECT_NEAR(excess(64, 2), 2 * 16 + 2, 1e-6);
  EXPECT_NEAR(excess(64, 4), 4 * 16 + 6, 1e-6);
}

TEST(PeerEstimate, ReservesForLossAndBackwardPassMoreThanEitherNeeds) {
  const PeerRun run = eight_billion("torch_eager");
  const PeerEstimate result = estimate(run);
  EXPECT_GT(result.peak_reserved.value,
            static_cast<std::int64_t>(run.runtime->reserved_over_allocated *
                                      static_cast<double>(result.peak_allocated.value)));
  EXPECT_LT(gib(result.peak_reserved), 1.25 * gib(result.peak_allocated));
}

TEST(StageShare, GivesEveryBlockToAStage) {
  PeerRun run = eight_billion("megatron");
  run.mesh.sizes[Axis::kPp] = 5;
  EXPECT_EQ(share_blocks(run).first, 7);
  run.mesh.sizes[Axis::kPp] = 1;
  EXPECT_EQ(share_blocks(run).last, 32);
}

TEST(StageShare, BalancesByCostWithTheHeadAsLayers) {
  // Hugging Face's 1.34 B model: the head costs as much as four of its sixteen blocks.
  PeerRun run = eight_billion("nanotron");
  run.model.num_hidden_layers = 16;
  run.model.hidden_size = 2048;
  run.model.intermediate_size = 8192;
  run.model.vocab_size = 131072;
  const auto share = [&](std::int64_t stages) {
    run.mesh.sizes[Axis::kPp] = stages;
    return share_blocks(run);
  };
  EXPECT_EQ(share(2).first, 10);
  EXPECT_EQ(share(2).last, 6);
  EXPECT_EQ(share(4).first, 5);
  EXPECT_EQ(share(8).first, 3);
  EXPECT_EQ(share(8).last, 0);
}

TEST(Hardware, KnowsGpusAndNetworksByName) {
  for (const char* name : {"a100-40gb-sxm", "a100-80gb-sxm", "h100-sxm", "h100-96gb-500w",
                           "h200-sxm", "b200-sxm", "gb200", "mi300x", "l40s", "rtx-4090"}) {
    ASSERT_NE(find_gpu(name), nullptr) << name;
  }
  EXPECT_EQ(find_gpu("h100"), nullptr);
  EXPECT_DOUBLE_EQ(parse_network("efa-3200", 8)->nominal.value, 50e9);
  EXPECT_DOUBLE_EQ(parse_network("efa-3200", 4)->nominal.value, 100e9);
  EXPECT_DOUBLE_EQ(parse_network("ib-hdr-200-per-gpu", 8)->nominal.value, 25e9);
  for (const char* name : {"", "efa", "efa-", "efa-x", "efa--3", "tcp-100", "roce-99999999999"})
    EXPECT_FALSE(parse_network(name, 8).has_value()) << name;
}

TEST(Hardware, CollectivesMeetThePublishedMeasurements) {
  // Bus bandwidth of 256 MiB over H100 nodes with EFA (catalog/measurements/collectives.csv).
  Hardware hardware{.gpu = find_gpu("h100-sxm"), .network = *parse_network("efa-3200", 8)};
  const auto bus = [&](CollectiveKind kind, std::int64_t ranks) {
    const double n = static_cast<double>(ranks);
    const double wire = 0x1p28 * (kind == CollectiveKind::kAllReduce ? 2 : 1) * (n - 1) / n;
    const GroupShape group{.ranks = ranks, .stride = 1, .ranks_per_node = 8};
    return wire / collective_time(hardware, kind, Bytes(1 << 28), group).value / 1e9;
  };
  EXPECT_NEAR(bus(CollectiveKind::kAllGather, 16) / 184.6, 1, 0.25);
  EXPECT_NEAR(bus(CollectiveKind::kAllGather, 64) / 69.0, 1, 0.3);
  EXPECT_NEAR(bus(CollectiveKind::kAllGather, 256) / 28.0, 1, 0.25);
  EXPECT_NEAR(bus(CollectiveKind::kAllReduce, 128) / 84.7, 1, 0.25);
  EXPECT_NEAR(bus(CollectiveKind::kAllReduce, 256) / 64.9, 1, 0.3);
}

TEST(Hardware, MatmulsLoseEfficiencyInEachSmallDimension) {
  const GpuFigures& gpu = *find_gpu("h100-sxm");
  const auto rate = [&](double m, double n, double k) {
    const double flops = 2 * m * n * k;
    const auto bytes = static_cast<std::int64_t>(2 * (m * k + k * n + m * n));
    return flops / matmul_time(gpu, Flops(flops), Bytes(bytes), false).value;
  };
  const double large = rate(8192, 8192, 8192);
  EXPECT_LT(large, gpu.peak.value * gpu.matmul_ceiling);
  EXPECT_LT(rate(8192, 512, 8192), 0.9 * large);
  EXPECT_LT(rate(8192, 8192, 512), 0.9 * large);
  EXPECT_LT(rate(512, 8192, 8192), 0.9 * large);
}

TEST(RuntimeProfile, NamesItself) {
  for (const char* name : {"meshplan", "torch_eager", "torch_compile", "torch_aot_eager",
                           "megatron", "nanotron", "composer_fsdp1"}) {
    ASSERT_NE(find_runtime(name), nullptr) << name;
  }
  EXPECT_EQ(find_runtime("torch"), nullptr);
}

}  // namespace
}  // namespace meshplan::planner

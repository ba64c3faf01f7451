#include "simulator/trace.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>

#include <map>

#include "common/file.h"
#include "tests/planner/random_plans.h"

namespace meshplan::simulator {
namespace {

using planner::Plan;

SimulatedStep simulate_with_timeline(const Plan& plan, std::int64_t rank) {
  SimulationRequest request;
  request.timelines = {rank};
  return simulate(plan, request);
}

formats::Trace trace_of(const Plan& plan, std::int64_t rank = 0) {
  return to_trace(simulate_with_timeline(plan, rank), plan.model);
}

/// One block on 2 x 2 ranks of round figures: 1 GFLOP/s, 1 GB/s of memory, no launch overhead;
/// links of 1 us and 1 GB/s that take half of their time from compute.
Plan tiny_plan() {
  planner::ModelSpec model = planner::small_model(1);
  model.hidden_size = 8;
  model.intermediate_size = 16;
  model.num_attention_heads = 2;
  model.num_key_value_heads = 2;
  model.head_dim = 4;
  model.vocab_size = 32;
  planner::Job job = planner::small_job();
  job.seq_length = 8;
  planner::Layout layout = planner::layout_of({.dp_shard = 2, .tp = 2});
  layout.microbatch_size = 1;
  layout.loss_chunks = 2;
  planner::ClusterSpec cluster = planner::cpu_cluster(layout);
  cluster.device.float32_peak = common::FlopsPerSecond(1e9);
  cluster.device.matmul = {.ceiling = 1.0, .half_flops = common::Flops(0)};
  cluster.device.memory_bandwidth = common::BytesPerSecond(1e9);
  cluster.device.launch_overhead = common::Seconds(0);
  const planner::CollectiveCost cost{common::Seconds(1e-6), common::BytesPerSecond(1e9)};
  cluster.intra_node = {cost, cost, cost};
  cluster.overlap = 0.5;
  return planner::plan_of(model, cluster, job, layout);
}

RC_GTEST_PROP(SimulatedTrace, HasNoNestingViolations, ()) {
  const Plan plan = planner::any_plan_over_all_axes();
  SimulationRequest request;
  request.timelines = {0};
  if (const std::int64_t world = planner::world_size(plan.layout.mesh); world > 1)
    request.timelines.push_back(world - 1);
  request.scenario.speed_spread = *rc::gen::element(0.0, 0.1);
  request.scenario.jitter = *rc::gen::element(0.0, 0.1);
  request.scenario.no_overlap = *rc::gen::arbitrary<bool>();
  const std::vector<std::string> violations =
      formats::check_trace_nesting(to_trace(simulate(plan, request), plan.model));
  if (!violations.empty()) RC_FAIL(violations.front());
}

RC_GTEST_PROP(SimulatedTrace, HoldsTheStepOnTheTracksOfItsStreams, ()) {
  const Plan plan = planner::any_plan();
  const auto rank = *rc::gen::inRange<std::int64_t>(0, planner::world_size(plan.layout.mesh));
  const SimulatedStep step = simulate_with_timeline(plan, rank);
  const formats::Trace trace = to_trace(step, plan.model);
  RC_ASSERT(trace.ranks == std::vector<std::int64_t>{rank});
  RC_ASSERT(trace.slices.size() == step.timelines.front().slices.size());
  std::int64_t end = 0;
  for (const formats::TraceSlice& slice : trace.slices) {
    RC_ASSERT(slice.pid == rank);
    RC_ASSERT(slice.tid >= formats::kComputeTrack && slice.tid <= formats::kReplicateTrack);
    RC_ASSERT(slice.tid != formats::kTpTrack || slice.category == "tp");
    RC_ASSERT(slice.tid != formats::kGatherTrack || slice.category == "dp_shard");
    RC_ASSERT(slice.tid != formats::kReplicateTrack || slice.category == "dp_replicate");
    end = std::max(end, slice.start_ps + slice.duration_ps);
  }
  RC_ASSERT(end == step.step_time);
}

/// A counter that is not set again keeps its value.
RC_GTEST_PROP(SimulatedTrace, CountersSumToTheMemoryOverTime, ()) {
  const Plan plan = planner::any_plan();
  const SimulatedStep step = simulate_with_timeline(plan, 0);
  const formats::Trace trace = to_trace(step, plan.model);
  std::map<std::string, std::int64_t> held;
  auto counter = trace.counters.begin();
  for (const MemorySample& sample : step.timelines.front().memory) {
    for (; counter != trace.counters.end() && counter->time_ps == sample.time; ++counter) {
      held[counter->name] = counter->value;
    }
    for (std::size_t c = 0; c < planner::kMemoryClasses; ++c) {
      const auto memory = static_cast<planner::MemoryClass>(c);
      RC_ASSERT(held.at(std::string("memory: ") + to_string(memory)) == sample.breakdown[c].value);
    }
  }
  RC_ASSERT(counter == trace.counters.end());
}

struct GoldenCase {
  const char* name;
  Plan plan;
  SimulationRequest request;
};

/// The tiny step on another mesh, and otherwise, with the timelines of these ranks.
GoldenCase golden_case(const char* name, const planner::MeshSizes& sizes,
                       const std::vector<std::int64_t>& ranks) {
  GoldenCase golden{name, tiny_plan(), {}};
  planner::Layout layout = planner::layout_of(sizes);
  layout.microbatch_size = 1;
  golden.plan.layout = layout;
  golden.request.timelines = ranks;
  return golden;
}

/// Two stages of a block each, two microbatches: stage 0 runs both forward passes before its first
/// backward pass.
GoldenCase golden_pipeline() {
  GoldenCase golden = golden_case("pipeline", {}, {0, 1});
  golden.plan.model.num_hidden_layers = 2;
  golden.plan.layout.mesh.sizes[planner::Axis::kPp] = 2;
  golden.plan.layout.mesh.ranks_per_node = 2;
  golden.plan.layout.accumulation = 2;
  return golden;
}

std::vector<GoldenCase> golden_cases() {
  std::vector<GoldenCase> cases;
  cases.push_back(golden_case("tiny_step", {.dp_shard = 2, .tp = 2}, {0}));
  cases.back().plan = tiny_plan();
  cases.push_back(golden_pipeline());
  // Rank 0 waits for rank 1 at every sum over tp.
  cases.push_back(golden_case("slow_rank", {.tp = 2}, {0, 1}));
  cases.back().request.scenario.slow_ranks = {{1, 1.5}};
  // Compute goes on where each gather and reduction has ended.
  cases.push_back(golden_case("no_overlap", {.dp_shard = 2}, {0}));
  cases.back().request.scenario.no_overlap = true;
  // Two nodes; a gather of 1 us and 0.512 us of bytes takes 1 us and 4 x 0.512 us.
  cases.push_back(golden_case("degraded_link", {.dp_shard = 2}, {0}));
  cases.back().plan.layout.mesh.ranks_per_node = 1;
  cases.back().plan.cluster.inter_node = cases.back().plan.cluster.intra_node;
  cases.back().request.scenario.degraded_links = {{1, 0.25}};
  // Parameters are gathered once for both microbatches.
  cases.push_back(golden_case("gathered_once", {.dp_shard = 2}, {0}));
  cases.back().plan.layout.sharding = planner::Sharding::kShardGradOp;
  cases.back().plan.layout.accumulation = 2;
  return cases;
}

TEST(SimulatedTrace, OfSmallStepsAreTheGoldenFiles) {
  for (const GoldenCase& golden : golden_cases()) {
    const std::string file = std::string(golden.name) + ".json";
    const std::string golden_path = MESHPLAN_SOURCE_DIR "/tests/simulator/golden/" + file;
    const formats::Trace trace = to_trace(simulate(golden.plan, golden.request), golden.plan.model);
    EXPECT_THAT(formats::check_trace_nesting(trace), testing::IsEmpty()) << golden.name;
    const std::string written = formats::to_chrome_json(trace);
    const std::string found_path = testing::TempDir() + file;
    common::write_file(found_path, written);
    EXPECT_TRUE(written == common::read_file(golden_path, common::Bytes(1 << 20)))
        << "the trace found is in " << found_path << "; if the change is meant, check it by hand "
        << "and copy it to " << golden_path;
  }
}

TEST(SimulatedTrace, NamesInstructionsAndBytes) {
  const formats::Trace trace = trace_of(tiny_plan(), 3);
  const auto named = [&trace](const std::string& name) {
    return std::find_if(trace.slices.begin(), trace.slices.end(),
                        [&name](const auto& slice) { return slice.name == name; });
  };
  const auto gather = named("parameters");
  ASSERT_NE(gather, trace.slices.end());
  EXPECT_EQ(gather->arguments["instruction"], "gather_parameters embedding");
  EXPECT_EQ(gather->arguments["microbatch"], 0);
  // 16 of 32 rows of 8, in slices of a multiple of 64 elements: 128 elements of 4 bytes.
  EXPECT_EQ(gather->arguments["bytes"], 512);
  EXPECT_EQ(gather->tid, formats::kGatherTrack);
  const auto kernel = named("qkv");
  ASSERT_NE(kernel, trace.slices.end());
  EXPECT_EQ(kernel->category, "kernel");
  EXPECT_EQ(kernel->arguments["instruction"], "forward block 0");
}

}  // namespace
}  // namespace meshplan::simulator

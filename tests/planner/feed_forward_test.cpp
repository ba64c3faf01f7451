#include "planner/program/feed_forward.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>

#include <map>
#include <set>

#include "planner/layout/rules.h"
#include "planner/model/feed_forward_model.h"
#include "planner/search/search.h"
#include "tests/common/expect_error.h"
#include "tests/planner/random_plans.h"
#include "tests/planner/unrolled.h"

// The feed-forward demo: three linear layers, a unit each.

namespace meshplan::planner {
namespace {

using common::Json;
using testing::ElementsAre;

ModelSpec read(const Json& config) { return read_model_config(config, "config.json"); }

TEST(FeedForward, TheCatalogHasItAsTheTutorialDoes) {
  const ModelSpec model = load_model("feed-forward-demo");
  EXPECT_TRUE(is_feed_forward(model));
  EXPECT_EQ(model.hidden_size, 8192);
  EXPECT_EQ(model.intermediate_size, 8192);
  EXPECT_EQ(parameter_count(model), 3 * 8192 * 8192);
  EXPECT_NEAR(model.initializer_range, 1 / std::sqrt(3.0 * 8192), 1e-12);
}

TEST(FeedForward, ItsUnitsAreW1AndW3SplitByColumnsAndW2ByRows) {
  const ModelSpec model = feed_forward_model(6, 8);
  ASSERT_EQ(unit_count(model), 3);
  const auto only = [&](std::int64_t unit) {
    const std::vector<Parameter> parameters = parameters_of(model, unit_at(model, unit));
    EXPECT_EQ(parameters.size(), 1u);
    return parameters.front();
  };
  EXPECT_EQ(only(kGateUnit).name, "w1.weight");
  EXPECT_EQ(only(kUpUnit).name, "w3.weight");
  EXPECT_EQ(only(kDownUnit).name, "w2.weight");
  EXPECT_THAT(only(kGateUnit).shape, ElementsAre(8, 6));
  EXPECT_THAT(local_shape(only(kGateUnit), 2), ElementsAre(4, 6));
  EXPECT_THAT(local_shape(only(kUpUnit), 2), ElementsAre(4, 6));
  EXPECT_THAT(local_shape(only(kDownUnit), 2), ElementsAre(6, 4));
}

RC_GTEST_PROP(FeedForward, IsReadBackIdentically, ()) {
  ModelSpec model = feed_forward_model(*rc::gen::inRange<std::int64_t>(1, 1 << 30),
                                       *rc::gen::inRange<std::int64_t>(1, 1 << 30));
  model.initializer_range = *rc::gen::inRange<int>(0, 1000) / 3e4;
  RC_ASSERT(read(common::parse_json(to_json(model).dump(), "text")) == model);
}

TEST(FeedForward, NamesTheFieldOfABadConfig) {
  const Json good = to_json(feed_forward_model(6, 8));
  const auto complains = [&](const char* key, const Json& value, const char* message) {
    Json bad = good;
    bad[key] = value;
    tests::expect_error(
        common::ErrorCode::kInvalidInput, [&] { read(bad); }, std::string("config.json.") + key,
        message);
  };
  complains("hidden_size", nullptr, "");
  complains("hidden_size", 0, "");
  complains("intermediate_size", "wide", "must be an integer");
  complains("hidden_act", "gelu", "it must be silu");
  complains("initializer_range", -1, "");
}

TEST(FeedForward, NamesWhatOfALayoutHasNoMeaningForIt) {
  Layout layout = layout_of({.dp_shard = 2, .tp = 3});
  layout.mesh.sizes[Axis::kCp] = 2;
  layout.mesh.sizes[Axis::kPp] = 2;
  layout.sequence_parallel = true;
  layout.activation_checkpointing = ActivationCheckpointing::kFull;
  layout.loss_chunks = 2;
  std::vector<std::string> codes;
  for (const Violation& violation : violations(feed_forward_model(6, 8), small_job(), layout))
    codes.push_back(violation.code);
  EXPECT_THAT(codes, testing::UnorderedElementsAre(
                         "tp_divides_intermediate_size", "pp_supported", "cp_supported",
                         "sequence_parallel_supported", "sequence_parallel_divides",
                         "activation_checkpointing_supported", "loss_chunks_supported"));
}

TEST(FeedForward, IsPlannedOnEveryMesh) {
  ClusterSpec cluster = load_cluster("h100-sxm");
  Job job;
  job.seq_length = 1;
  job.param_dtype = common::DataType::kBfloat16;
  const SearchResult found = search(load_model("feed-forward-demo"), cluster, job, {});
  EXPECT_TRUE(found.rejected.empty()) << found.rejected.front().reason;
  EXPECT_GT(found.ranked.size(), 10u);
}

RC_GTEST_PROP(FeedForward, EveryWeightIsGatheredOnceAMicrobatchAndOnlyThen, ()) {
  const Plan plan = any_feed_forward_plan();
  const bool each_pass = without_replicas(plan.layout.sharding) == Sharding::kFullShard;
  std::map<std::int64_t, std::int64_t> gathers;
  std::set<std::int64_t> gathered;
  for (const Instruction& instruction : unrolled_step(plan).instructions) {
    if (instruction.opcode == Opcode::kGatherParameters) {
      ++gathers[instruction.unit];
      RC_ASSERT(gathered.insert(instruction.unit).second);
    } else if (instruction.opcode == Opcode::kReleaseParameters) {
      RC_ASSERT(gathered.erase(instruction.unit) == 1U);
    } else if (instruction.opcode == Opcode::kForward || instruction.opcode == Opcode::kLoss) {
      RC_ASSERT(gathered.contains(instruction.unit));
    }
  }
  for (std::int64_t unit : {kGateUnit, kUpUnit, kDownUnit})
    RC_ASSERT(gathers[unit] == (each_pass ? plan.layout.accumulation : 1));
}

RC_GTEST_PROP(FeedForward, EveryGatherAndReductionIsWaitedFor, ()) {
  const UnrolledStep step = unrolled_step(any_feed_forward_plan());
  const bool shards = step.context.layout.mesh.sizes[Axis::kDpShard] > 1;
  std::set<std::int64_t> gathering, reducing;
  for (std::size_t i = 0; i < step.instructions.size(); ++i) {
    const Instruction& instruction = step.instructions[i];
    for (std::int64_t distance : instruction.waits) {
      const std::int64_t awaited = static_cast<std::int64_t>(i) - distance;
      RC_ASSERT(distance >= 0 && awaited >= 0);
    }
    if (instruction.retires != kNoUnit) RC_ASSERT(reducing.erase(instruction.retires) == 1U);
    if (instruction.opcode == Opcode::kGatherParameters) gathering.insert(instruction.unit);
    const bool reads =
        instruction.opcode == Opcode::kForward || instruction.opcode == Opcode::kLoss;
    if (reads && gathering.erase(instruction.unit) == 1U) RC_ASSERT(instruction.waits[0] > 0);
    const bool reduces =
        !accumulates_whole_gradients(step.context.layout) || instruction.place.last;
    if (instruction.opcode == Opcode::kReduceGradients && reduces) {
      RC_ASSERT(reducing.size() <= 1U);
      reducing.insert(instruction.unit);
    }
  }
  RC_ASSERT(gathering.empty());
  RC_ASSERT(reducing.empty() || !shards);
}

/// Nothing is left over, and the matrix multiplies are the model's: there is no recomputation.
RC_GTEST_PROP(FeedForward, AllocationsAreFreedAndFlopsAreTheModels, ()) {
  const UnrolledStep step = unrolled_step(any_feed_forward_plan());
  common::Bytes held;
  common::Flops flops;
  std::int64_t tp_bytes = 0;
  for (const Operations& operations : step.operations) {
    for (const Operation& operation : operations) {
      flops += operation.flops;
      if (changes_memory(operation)) held += memory_change(operation);
      const bool sum =
          operation.kind == OperationKind::kCollective && operation.stream == Stream::kTp;
      if (sum) tp_bytes += operation.bytes.value;
    }
  }
  const StepContext& c = step.context;
  RC_ASSERT(held.value == 0);
  RC_ASSERT(flops.value == feed_forward_flops(c).value);
  const std::int64_t outputs =
      c.layout.accumulation * c.tokens * c.model.hidden_size * c.param_size;
  RC_ASSERT(tp_bytes == (c.layout.mesh.sizes[Axis::kTp] > 1 ? outputs : 0));
}

}  // namespace
}  // namespace meshplan::planner

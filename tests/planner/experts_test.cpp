#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>

#include <cmath>

#include "planner/model/block_parameters.h"
#include "tests/planner/random_plans.h"
#include "tests/planner/unrolled.h"

// Mixtures of experts and architectures other than Llama's: what they hold, compute and send.

namespace meshplan::planner {
namespace {

/// A plan of a catalog model on nodes of eight H100s in bfloat16, its axes and experts as given.
Plan plan_on_h100(const char* name, std::int64_t dp_shard, std::int64_t tp, std::int64_t ep) {
  Plan plan{.model = load_model(name),
            .model_source = name,
            .cluster = load_cluster("h100-sxm"),
            .job = {},
            .layout = {},
            .estimate = {}};
  plan.job.seq_length = 4096;
  plan.job.param_dtype = common::DataType::kBfloat16;
  plan.layout.mesh.sizes[Axis::kDpShard] = dp_shard;
  plan.layout.mesh.sizes[Axis::kTp] = tp;
  plan.layout.mesh.ranks_per_node = 8;
  plan.layout.mesh.expert_parallel = ep;
  plan.layout.sequence_parallel = tp > 1;
  plan.layout.loss_chunks = 8;
  plan.cluster.nodes = dp_shard * tp / 8;
  plan.estimate = estimate(plan.model, plan.cluster, plan.job, plan.layout);
  return plan;
}

std::int64_t held_elements(const Plan& plan) {
  const StepContext context =
      make_step_context(plan.model, plan.job, plan.layout, plan.cluster.device.kind);
  return persistent_memory(context).parameters.value / context.master_size;
}

/// Over the ranks of a replica, whose slices are padded, every parameter is held once.
TEST(Experts, ParametersOfAllRanksAreTheModels) {
  for (const char* name : {"mixtral-8x7b-v0.1", "qwen3-30b-a3b"}) {
    for (const std::int64_t ep : {1, 2, 8}) {
      const Plan plan = plan_on_h100(name, 16, 1, ep);
      ASSERT_THAT(plan.estimate.violations, testing::IsEmpty());
      const std::int64_t held = held_elements(plan) * 16;
      const std::int64_t count = parameter_count(plan.model);
      const double padding = static_cast<double>(held - count) / static_cast<double>(count);
      fmt::print("{}, ep={}: {} held, {} are the model's; padding {:.2g}, tolerance 1e-4\n", name,
                 ep, held, count, padding);
      EXPECT_GE(padding, 0);
      EXPECT_LT(padding, 1e-4);
    }
  }
}

/// With tp as well: norms and routers are held by each rank of it.
TEST(Experts, ParametersOverTpAreTheModelsAndWhatTpReplicates) {
  for (const std::int64_t ep : {1, 4}) {
    const Plan plan = plan_on_h100("mixtral-8x7b-v0.1", 8, 2, ep);
    const std::int64_t held = held_elements(plan) * 16;
    std::int64_t expected = 0;
    for (std::int64_t unit = 0; unit < unit_count(plan.model); ++unit) {
      for (const Parameter& parameter : parameters_of(plan.model, unit_at(plan.model, unit)))
        expected += element_count(parameter) * (parameter.split == TpSplit::kReplicated ? 2 : 1);
    }
    EXPECT_GE(held, expected);
    EXPECT_LT(static_cast<double>(held - expected), 1e-4 * static_cast<double>(expected));
  }
}

double flops_of(const Plan& plan, KernelKind kind) {
  double flops = 0;
  for (const Operations& operations : unrolled_step(plan).operations) {
    for (const Operation& operation : operations) {
      if (operation.kind == OperationKind::kKernel && operation.kernel == kind)
        flops += operation.flops.value;
    }
  }
  return flops;
}

/// 6 FLOPs a token and active parameter, but for the embedding's look-up and the norms, and 7
/// causal products of half of the score matrix.
TEST(Experts, FlopsOfMixtralAreSixPerTokenAndActiveParameter) {
  const Plan plan = plan_on_h100("mixtral-8x7b-v0.1", 16, 1, 8);
  const ModelSpec& model = plan.model;
  const auto tokens = static_cast<double>(plan.job.seq_length);
  const auto active =
      static_cast<double>(active_parameter_count(model) - model.vocab_size * model.hidden_size);
  const double matmul = flops_of(plan, KernelKind::kMatmul) / tokens;
  const double attention = flops_of(plan, KernelKind::kAttention) / tokens;
  const double apart = std::abs(matmul / (6 * active) - 1);
  fmt::print(
      "matrix multiplies of a token: {:.6g} FLOPs, 6 x active {:.6g}: {:.2g} apart, "
      "tolerance 1e-4\n",
      matmul, 6 * active, apart);
  EXPECT_LT(apart, 1e-4);
  EXPECT_DOUBLE_EQ(attention, 7.0 * 32 * 4096 * 4096);
  EXPECT_NEAR(plan.estimate.model_flops.value / (tokens * (6 * active + 12.0 * 32 * 4096 * 4096)),
              1, 1e-12);
}

/// Ranks gather fewer experts. Rows that came from other ranks are kept, which ep = 1 spares: with
/// eight small experts a token that is more than the parameters of a block.
TEST(Experts, MemoryFallsWithExpertParallelism) {
  const auto peak_of = [](const char* name, std::int64_t ep) {
    const common::Bytes peak = plan_on_h100(name, 64, 1, ep).estimate.memory.peak_allocated;
    fmt::print("{}, ep={}: peak {} bytes\n", name, ep, peak.value);
    return peak;
  };
  EXPECT_LT(peak_of("mixtral-8x7b-v0.1", 2), peak_of("mixtral-8x7b-v0.1", 1));
  for (const char* name : {"mixtral-8x7b-v0.1", "qwen3-30b-a3b"}) {
    EXPECT_LT(peak_of(name, 4), peak_of(name, 2));
    EXPECT_LT(peak_of(name, 8), peak_of(name, 4));
  }
}

/// Whether rows go to other ranks once more in a block's backward pass.
bool dispatches_again(const StepContext& c, std::int64_t block) {
  return recompute_of(c.layout, block).attention;
}

/// Whether a product that a norm reads is computed, and so summed, once more.
bool writes_again(const StepContext& c, std::int64_t block) {
  return recompute_of(c.layout, block).attention && !c.model.parallel_residual &&
         c.model.norm_placement != NormPlacement::kBefore;
}

/// Each token's row goes to its experts with a float32 weight and back without, the gradients the
/// other way round.
RC_GTEST_PROP(Experts, ExchangesFollowTheClosedFormula, ()) {
  const Plan plan = any_plan_of_any_architecture();
  RC_ASSERT(plan.estimate.violations.empty());
  const UnrolledStep step = unrolled_step(plan);
  const StepContext& c = step.context;
  const std::int64_t rows = c.tokens * c.model.moe.experts_per_token;
  const std::int64_t hidden = rows * c.model.hidden_size * c.param_size;
  std::int64_t bytes = 0;
  std::int64_t operations = 0;
  for (std::int64_t block = 0; block < c.model.num_hidden_layers; ++block) {
    if (c.layout.mesh.expert_parallel == 1 || !is_moe_block(c.model, block)) continue;
    const std::int64_t dispatches = dispatches_again(c, block) ? 3 : 2;
    const std::int64_t returns = writes_again(c, block) ? 3 : 2;
    bytes += dispatches * (hidden + 4 * rows) + returns * hidden;
    operations += dispatches + returns;
  }
  const AxisTraffic& ep = plan.estimate.traffic[static_cast<std::size_t>(Axis::kEp)];
  RC_ASSERT(ep.bytes.value == c.layout.accumulation * bytes);
  RC_ASSERT(ep.operations == c.layout.accumulation * operations);
  RC_ASSERT(ep.wire_bytes <= ep.bytes);
}

/// What is gathered and reduced over dp_shard and over those that share experts is every unit, as
/// often as without experts.
RC_GTEST_PROP(Experts, EveryUnitIsGatheredAndReducedWhole, ()) {
  const Plan plan = any_plan_of_any_architecture();
  const UnrolledStep step = unrolled_step(plan);
  const StepContext& c = step.context;
  std::int64_t gathered = 0;
  std::int64_t reduced = 0;
  std::int64_t expected_gathers = 0;
  std::int64_t expected_reductions = 0;
  const DeviceMesh& mesh = c.layout.mesh;
  for (std::size_t i = 0; i < step.instructions.size(); ++i) {
    for (const Operation& operation : step.operations[i]) {
      if (operation.collective == CollectiveKind::kAllGather && operation.axis != Axis::kTp)
        gathered += operation.bytes.value;
      if (operation.collective == CollectiveKind::kReduceScatter && operation.axis != Axis::kTp)
        reduced += operation.bytes.value;
    }
    const Instruction& instruction = step.instructions[i];
    if (instruction.unit == kNoUnit || sharding_ranks(mesh) == 1) continue;
    const UnitSizes& sizes = c.sizes_of(instruction.unit);
    // Of experts that a rank has alone nothing is sent.
    const bool alone = group_size(mesh, Axis::kExpertShard) == 1;
    const std::int64_t sent = sizes.elements - (alone ? sizes.expert_elements : 0);
    if (instruction.opcode == Opcode::kGatherParameters) expected_gathers += sent * c.param_size;
    const bool reduces = instruction.opcode == Opcode::kReduceGradients &&
                         (!accumulates_whole_gradients(c.layout) || instruction.place.last);
    if (reduces) expected_reductions += sent * c.reduce_size;
  }
  RC_ASSERT(gathered == expected_gathers);
  RC_ASSERT(reduced == expected_reductions);
}

bool is_qk_norm(ParameterRole role) {
  return role == ParameterRole::kQueryNorm || role == ParameterRole::kKeyNorm;
}

/// Rows that a block's matrix multiplies on a rank, times the part of it that tp leaves.
double rows_times(const StepContext& c, const Parameter& parameter) {
  const auto tokens = static_cast<double>(c.tokens);
  const std::int64_t tp = c.layout.mesh.sizes[Axis::kTp];
  if (is_expert(parameter.role)) {
    return tokens * static_cast<double>(c.model.moe.experts_per_token) /
           static_cast<double>(c.model.moe.num_experts * tp);
  }
  return parameter.split == TpSplit::kReplicated ? tokens : tokens / static_cast<double>(tp);
}

/// 2 FLOPs a row and weight forward, 4 backward, for whatever the blocks are made of.
RC_GTEST_PROP(Experts, MatmulFlopsOfAnyArchitectureAreSixPerRowAndWeight, ()) {
  Plan plan = any_plan_of_any_architecture();
  plan.layout.activation_checkpointing = ActivationCheckpointing::kNone;
  const UnrolledStep step = unrolled_step(plan);
  const StepContext& c = step.context;
  const auto width = static_cast<double>(c.model.embedding_size > 0 ? c.model.embedding_size
                                                                    : c.model.hidden_size);
  double multiplied = static_cast<double>(c.tokens * c.vocab_rows) * width;
  if (c.model.embedding_size > 0)
    multiplied += 2 * width * static_cast<double>(c.model.hidden_size * c.residual_tokens);
  for (std::int64_t block = 0; block < c.model.num_hidden_layers; ++block) {
    for (const Parameter& parameter : parameters_of(c.model, {UnitKind::kBlock, block})) {
      if (parameter.shape.size() == 2 && !is_qk_norm(parameter.role))
        multiplied += rows_times(c, parameter) * static_cast<double>(element_count(parameter));
    }
  }
  const double expected = 6 * multiplied * static_cast<double>(c.layout.accumulation);
  RC_ASSERT(std::abs(flops_of(plan, KernelKind::kMatmul) / expected - 1) < 1e-12);
}

std::int64_t sums_over_tp(const Plan& plan, std::int64_t bytes) {
  std::int64_t sums = 0;
  for (const Operations& operations : unrolled_step(plan).operations) {
    for (const Operation& operation : operations) {
      const bool sum = operation.kind == OperationKind::kCollective &&
                       operation.collective == CollectiveKind::kAllReduce &&
                       operation.axis == Axis::kTp && operation.bytes.value == bytes;
      if (sum) ++sums;
    }
  }
  return sums;
}

/// Branches that run in parallel are summed together: once forward, and once backward where they
/// read the same norm. Norms after them change nothing but under full recomputation.
TEST(Architectures, SumsOverTpFollowTheResidualStream) {
  const Layout layout = layout_of({.tp = 2});
  const std::int64_t hidden = 4 * layout.microbatch_size * small_job().seq_length * 64;
  const auto of_a_block = [&](const auto& change, ActivationCheckpointing checkpointing) {
    ModelSpec model = small_model(1);
    change(model);
    Layout checkpointed = layout;
    checkpointed.activation_checkpointing = checkpointing;
    const Plan plan = plan_of(model, cpu_cluster(layout), small_job(), checkpointed);
    // Two are the embedding's and the head's.
    return sums_over_tp(plan, hidden) - 2;
  };
  const auto sequential = [](ModelSpec&) {};
  const auto parallel = [](ModelSpec& model) { model.parallel_residual = true; };
  const auto shared = [](ModelSpec& model) { model.parallel_residual = model.shared_norm = true; };
  const auto both = [](ModelSpec& model) { model.norm_placement = NormPlacement::kBoth; };
  EXPECT_EQ(of_a_block(sequential, ActivationCheckpointing::kNone), 4);
  EXPECT_EQ(of_a_block(sequential, ActivationCheckpointing::kFull), 5);
  EXPECT_EQ(of_a_block(parallel, ActivationCheckpointing::kNone), 3);
  EXPECT_EQ(of_a_block(parallel, ActivationCheckpointing::kFull), 3);
  EXPECT_EQ(of_a_block(shared, ActivationCheckpointing::kNone), 2);
  EXPECT_EQ(of_a_block(both, ActivationCheckpointing::kNone), 4);
  EXPECT_EQ(of_a_block(both, ActivationCheckpointing::kFull), 6);
}

/// What a block saves beside the same without norms of its products: their two inputs and
/// statistics.
TEST(Architectures, NormsAfterSaveTheirInputs) {
  const Layout layout = layout_of({});
  const auto activations = [&](NormPlacement placement) {
    ModelSpec model = small_model(6);
    model.norm_placement = placement;
    const Plan plan = plan_of(model, cpu_cluster(layout), small_job(), layout);
    return plan.estimate.memory.breakdown[static_cast<std::size_t>(MemoryClass::kActivations)]
        .value;
  };
  const std::int64_t tokens = layout.microbatch_size * small_job().seq_length;
  EXPECT_EQ(activations(NormPlacement::kBoth) - activations(NormPlacement::kBefore),
            6 * 2 * tokens * (4 * 64 + 4));
  // Without the norms before there are no statistics of them.
  EXPECT_EQ(activations(NormPlacement::kBoth) - activations(NormPlacement::kAfter),
            6 * 2 * tokens * 4);
}

/// Half of the sequence as window leaves 3/4 of causal attention.
TEST(Architectures, WindowsSpareAttention) {
  const Layout layout = layout_of({});
  const auto attention = [&](std::int64_t window, std::int64_t blocks) {
    ModelSpec model = small_model(4);
    model.sliding_window = window;
    model.windowed_blocks = blocks;
    return flops_of(plan_of(model, cpu_cluster(layout), small_job(), layout),
                    KernelKind::kAttention);
  };
  const double whole = attention(0, 0);
  EXPECT_DOUBLE_EQ(attention(128, 4), whole);
  EXPECT_DOUBLE_EQ(attention(64, 4), 0.75 * whole);
  EXPECT_DOUBLE_EQ(attention(64, 2), 0.875 * whole);
}

/// Blocks with experts after dense ones: as many segments as there are sorts of blocks in a row.
TEST(Experts, BlocksOfTwoSortsFoldApart) {
  ModelSpec model = small_model(60);
  model.family = ModelFamily::kOther;
  const Layout layout = layout_of({.dp_shard = 2});
  const auto segments = [&] {
    std::size_t count = 0;
    for (const Phase& phase : build_program(model, small_job(), layout).phases)
      count += phase.segments.size();
    return count;
  };
  const std::size_t dense = segments();
  model.moe = {
      .num_experts = 8, .experts_per_token = 2, .intermediate_size = 64, .first_dense_blocks = 20};
  fmt::print("{} segments of dense blocks, {} of 20 dense and 40 with experts\n", dense,
             segments());
  EXPECT_GT(segments(), dense);
  EXPECT_LT(segments(), dense + 12);
}

TEST(Experts, PlansOfThemReadBackAlike) {
  const Plan plan = plan_on_h100("mixtral-8x7b-v0.1", 16, 1, 4);
  const Plan read = read_plan(to_json(plan), "plan.json");
  EXPECT_EQ(read.layout, plan.layout);
  EXPECT_EQ(to_json(read), to_json(plan));
  const common::Json communication = to_json(plan.estimate)["communication"];
  EXPECT_GT(communication["ep"]["bytes_per_rank"], 0);
  EXPECT_GT(communication["expert_shard"]["bytes_per_rank"], 0);
  EXPECT_FALSE(
      to_json(plan_on_h100("mixtral-8x7b-v0.1", 16, 1, 1).estimate)["communication"].contains(
          "ep"));
}

}  // namespace
}  // namespace meshplan::planner

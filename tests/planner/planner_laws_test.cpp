// Laws that the planner holds for every model, layout and cluster.

#include <fmt/format.h>
#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>

#include <cmath>

#include "common/error.h"
#include "planner/explain/explanation.h"
#include "planner/model/parameter_table.h"
#include "tests/planner/model_configs.h"
#include "tests/planner/random_plans.h"
#include "tests/planner/unrolled.h"

namespace meshplan::planner {
namespace {

/// What a rank holds of the model's state: parameters and optimizer all the time, and gradients
/// once all are reduced. (Before, whole gradients of a unit or two wait for their reduction, where
/// there is one.)
struct HeldState {
  std::int64_t persistent = 0;
  std::int64_t gradients = 0;
};

HeldState held_state(const Plan& plan) {
  const UnrolledStep step = unrolled_step(plan);
  const PersistentMemory memory = persistent_memory(step.context);
  HeldState held{.persistent = (memory.parameters + memory.optimizer).value, .gradients = 0};
  std::int64_t now = 0;
  for (std::size_t i = 0; i < step.instructions.size(); ++i) {
    for (const Operation& operation : step.operations[i]) {
      if (!changes_memory(operation) || operation.memory != MemoryClass::kGradients) continue;
      now += memory_change(operation).value;
    }
    if (step.instructions[i].opcode == Opcode::kGradientNorm) held.gradients = now;
  }
  RC_ASSERT(held.gradients > 0);
  return held;
}

/// Slices are padded to 256 bytes, and whole buffers to a slice of each rank; of each unit there
/// are six copies at most: in param_dtype, as gradients in two types, and the optimizer's three.
std::int64_t padding(const Plan& plan) {
  return 6 * unit_count(plan.model) * (1 + plan.layout.mesh.sizes[Axis::kDpShard]) * 128 * 4;
}

RC_GTEST_PROP(PlannerLaws, StateNeverRisesWithMoreShardsBeyondPadding, ()) {
  Plan plan = any_plan();
  if (plan.layout.sharding == Sharding::kNoShard) plan.layout.sharding = Sharding::kFullShard;
  const HeldState few = held_state(plan);
  plan.layout.mesh.sizes[Axis::kDpShard] *= *rc::gen::inRange<std::int64_t>(2, 9);
  const HeldState more = held_state(plan);
  RC_ASSERT(more.persistent <= few.persistent + padding(plan));
  RC_ASSERT(more.gradients <= few.gradients + padding(plan));
}

RC_GTEST_PROP(PlannerLaws, StateNeverRisesWithMoreTensorParallelismBeyondPadding, ()) {
  Plan plan = any_plan();
  plan.layout.mesh.sizes[Axis::kTp] = 1;
  plan.layout.sequence_parallel = false;
  const HeldState few = held_state(plan);
  plan.layout.mesh.sizes[Axis::kTp] = *rc::gen::element<std::int64_t>(2, 4);
  const HeldState more = held_state(plan);
  // Rows of the vocabulary are padded to a multiple of tp; and every parameter of a unit, of which
  // there are 16 at most, starts at a multiple of 256 bytes.
  const std::int64_t aligned = 6 * unit_count(plan.model) * 16 * 256;
  const std::int64_t rows = 6 * 2 * plan.model.hidden_size * 4;
  RC_ASSERT(more.persistent <= few.persistent + padding(plan) + aligned + rows);
  RC_ASSERT(more.gradients <= few.gradients + padding(plan) + aligned + rows);
}

std::int64_t bytes_on(const Plan& plan, Axis axis) {
  return plan.estimate.traffic[static_cast<std::size_t>(axis)].bytes.value;
}

/// The formulas count what a block adds: one forward pass in all_reduces for tp, one gather for
/// FSDP. A step of one microbatch has the backward pass's all_reduces beside them, and two gathers
/// and one reduction.
RC_GTEST_PROP(PlannerLaws, VolumesOfABlockAreTheFirstOrderFormulas, ()) {
  ModelSpec model = any_model();
  model.qk_norm = false;
  Job job = any_job();
  job.param_dtype = common::DataType::kBfloat16;
  job.reduce_dtype = common::DataType::kBfloat16;
  job.master_dtype = common::DataType::kFloat32;
  Layout layout = layout_of({.dp_shard = *rc::gen::element<std::int64_t>(2, 4, 8),
                             .tp = *rc::gen::element<std::int64_t>(2, 4)});
  layout.microbatch_size = *rc::gen::inRange<std::int64_t>(1, 5);
  layout.blocks_kept_gathered = 0;
  const ClusterSpec cluster = cpu_cluster(layout);
  const auto plan_with = [&](std::int64_t blocks) {
    model.num_hidden_layers = blocks;
    return plan_of(model, cluster, job, layout);
  };
  const Plan few = plan_with(2);
  const Plan more = plan_with(5);
  RC_ASSERT(few.estimate.violations.empty() && more.estimate.violations.empty());
  const FirstOrderVolumes& less = few.estimate.first_order;
  const std::int64_t tp =
      more.estimate.first_order.tp_activations.value - less.tp_activations.value;
  RC_ASSERT(bytes_on(more, Axis::kTp) - bytes_on(few, Axis::kTp) == 2 * tp);
  // A rank's gathers are of its share over tp; norms and biases are whole on each, and padded.
  const std::int64_t fsdp =
      more.estimate.first_order.fsdp_parameters.value - less.fsdp_parameters.value;
  const auto moved =
      static_cast<double>(bytes_on(more, Axis::kDpShard) - bytes_on(few, Axis::kDpShard));
  const auto ranks = static_cast<double>(layout.mesh.sizes[Axis::kTp]);
  const double formula = 3 * static_cast<double>(fsdp) / ranks;
  const double replicated = 3 * 3 * 2.0 * 16 * static_cast<double>(model.hidden_size);
  const double padded = 3 * 3 * (16 + static_cast<double>(layout.mesh.sizes[Axis::kDpShard])) * 256;
  RC_ASSERT(moved >= formula);
  RC_ASSERT(moved <= formula + replicated + padded);
}

bool is_finite(const Estimate& priced) {
  bool finite = std::isfinite(priced.step_time.value) && priced.step_time.value > 0 &&
                std::isfinite(priced.compute_time.value) && std::isfinite(priced.mfu) &&
                std::isfinite(priced.tokens_per_second_per_gpu) &&
                priced.tokens_per_second_per_gpu > 0 && priced.memory.peak_allocated.value > 0 &&
                priced.memory.peak_device >= priced.memory.peak_allocated;
  for (const AxisTraffic& axis : priced.traffic) {
    finite &= axis.bytes.value >= 0 && axis.wire_bytes.value >= 0 && axis.operations >= 0 &&
              std::isfinite(axis.time.value) && std::isfinite(axis.exposed.value);
  }
  for (const common::Bytes& held : priced.memory.breakdown) finite &= held.value >= 0;
  return finite;
}

std::int64_t power_of_two(int least, int most) {
  return std::int64_t{1} << *rc::gen::inRange(least, most + 1);
}

/// A config of up to some 10^17 parameters, at the limits of the reader.
common::Json huge_config() {
  const std::int64_t heads = power_of_two(3, 12);
  return {{"model_type", "llama"},
          {"hidden_size", heads * power_of_two(4, 9)},
          {"intermediate_size", power_of_two(12, 23)},
          {"num_hidden_layers", power_of_two(4, 15)},
          {"num_attention_heads", heads},
          {"vocab_size", power_of_two(10, 23)}};
}

TEST(PlannerLaws, PricesOrRefusesModelsOfTenToThe13Parameters) {
  int priced = 0;
  int refused = 0;
  double most = 0;
  const bool held = rc::check([&] {
    const ModelSpec model = read_model_config(huge_config(), "config.json");
    Job job;
    job.seq_length = power_of_two(0, 22);
    job.param_dtype = *rc::gen::element(common::DataType::kBfloat16, common::DataType::kFloat32);
    Layout layout = layout_of({.dp_replicate = power_of_two(0, 4),
                               .dp_shard = power_of_two(0, 16),
                               .tp = power_of_two(0, 3)});
    layout.microbatch_size = power_of_two(0, 12);
    layout.accumulation = power_of_two(0, 18);
    layout.activation_checkpointing =
        *rc::gen::element(ActivationCheckpointing::kNone, ActivationCheckpointing::kFull);
    ClusterSpec cluster = load_cluster("h100-sxm");
    cluster.nodes = world_size(layout.mesh);
    cluster.devices_per_node = 1;
    layout.mesh.ranks_per_node = 1;
    try {
      const auto parameters = static_cast<double>(parameter_count(model));
      const Estimate estimate = planner::estimate(model, cluster, job, layout);
      if (!estimate.violations.empty()) {
        ++refused;
        return;
      }
      RC_ASSERT(is_finite(estimate));
      ++priced;
      most = std::max(most, parameters);
    } catch (const common::Error& error) {
      RC_ASSERT(error.code() == common::ErrorCode::kInvalidInput);
      ++refused;
    }
  });
  fmt::print("{} priced, of up to {:.1e} parameters; {} refused\n", priced, most, refused);
  EXPECT_TRUE(held);
  EXPECT_GT(most, 1e13);
}

RC_GTEST_PROP(PlannerLaws, TheSameInputGivesTheSameBytes, ()) {
  const Plan plan = any_plan_over_all_axes();
  const Plan again = plan_of(read_model_config(to_json(plan.model), "model"),
                             read_cluster(to_json(plan.cluster), "cluster"), plan.job, plan.layout);
  RC_ASSERT(to_json(again.estimate).dump() == to_json(plan.estimate).dump());
  SearchRequest request;
  request.base = plan.layout;
  request.microbatch_size = 1;
  const auto text = [&] {
    const SearchResult found = search(plan.model, plan.cluster, plan.job, request);
    if (found.ranked.empty()) return std::string();
    return to_json(explain(plan.model, plan.cluster, plan.job, found, request.objective)).dump();
  };
  RC_ASSERT(text() == text());
}

}  // namespace
}  // namespace meshplan::planner

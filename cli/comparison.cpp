#include "cli/comparison.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "common/error.h"
#include "formats/metrics.h"
#include "formats/run_folder.h"
#include "planner/program/expand.h"

namespace meshplan::cli {
namespace {

using common::Bytes;
using common::Error;
using common::ErrorCode;
using common::Json;
using formats::RecordedCollective;
using planner::Axis;
using planner::kAxes;

constexpr std::int64_t kMaxInstructions = 5'000'000;

using Collectives = std::vector<RecordedCollective>;

void require_file(const std::filesystem::path& path) {
  std::error_code ignored;
  if (std::filesystem::is_regular_file(path, ignored)) return;
  throw Error(
      ErrorCode::kInvalidInput,
      "is missing: the run has not ended well, or this is not the folder of a run; train again",
      path.string());
}

void require_complete(const std::filesystem::path& run, std::int64_t ranks) {
  require_file(formats::plan_path(run));
  require_file(formats::metrics_path(run));
  for (std::int64_t rank = 0; rank < ranks; ++rank) {
    require_file(formats::collectives_path(run, rank));
    require_file(formats::summary_path(run, rank));
  }
}

void require_same_plan(const planner::Plan& plan, const std::filesystem::path& run) {
  const std::filesystem::path path = formats::plan_path(run);
  const planner::Plan ran = planner::load_plan(path);
  const auto require = [&](bool same, const char* what, const Json& planned, const Json& there) {
    if (same) return;
    throw Error(ErrorCode::kInvalidInput,
                fmt::format("the run was of another {}: {}, not {}; compare it with its own plan",
                            what, there.dump(), planned.dump()),
                path.string());
  };
  require(ran.model == plan.model, "model", to_json(plan.model), to_json(ran.model));
  require(ran.job == plan.job, "job", to_json(plan.job), to_json(ran.job));
  require(ran.layout == plan.layout, "layout", to_json(plan.layout), to_json(ran.layout));
}

/// The collectives of one step, in the order of issue.
Collectives planned_collectives(const planner::Plan& plan) {
  const planner::StepContext context =
      planner::make_step_context(plan.model, plan.job, plan.layout, plan.cluster.device.kind);
  const planner::StepProgram program = planner::build_program(plan.model, plan.job, plan.layout);
  if (const std::int64_t count = planner::instruction_count(program); count > kMaxInstructions) {
    throw Error(ErrorCode::kInvalidInput,
                fmt::format("the step has {} instructions; at most {} are compared", count,
                            kMaxInstructions),
                "accumulation");
  }
  Collectives collectives;
  for (const planner::Instruction& instruction : planner::unroll(program)) {
    for (const planner::Operation& operation : planner::expand(context, instruction)) {
      if (operation.kind != planner::OperationKind::kCollective) continue;
      collectives.push_back(
          {to_string(operation.collective), to_string(operation.axis), operation.bytes});
    }
  }
  return collectives;
}

std::optional<CollectiveDifference> first_difference(const Collectives& planned,
                                                     const Collectives& recorded,
                                                     std::int64_t rank) {
  const auto [p, r] =
      std::mismatch(planned.begin(), planned.end(), recorded.begin(), recorded.end());
  if (p == planned.end() && r == recorded.end()) return std::nullopt;
  CollectiveDifference difference;
  difference.rank = rank;
  difference.index = static_cast<std::size_t>(p - planned.begin());
  if (p != planned.end()) difference.planned = *p;
  if (r != recorded.end()) difference.recorded = *r;
  return difference;
}

/// Takes over what this rank measured for the axis if it is further from the prediction.
void compare_axis(AxisComparison& axis, const char* name, const Collectives& recorded,
                  bool first_rank) {
  Bytes bytes;
  std::int64_t operations = 0;
  for (const RecordedCollective& collective : recorded) {
    if (collective.axis != name) continue;
    bytes += collective.bytes;
    ++operations;
  }
  const auto distance = [&axis](Bytes measured) {
    return std::abs(measured.value - axis.predicted.value);
  };
  if (!first_rank && distance(bytes) <= distance(axis.measured)) return;
  axis.measured = bytes;
  axis.measured_operations = operations;
}

void compare_collectives(Comparison& comparison, const planner::Plan& plan,
                         const std::filesystem::path& run) {
  const Collectives planned = planned_collectives(plan);
  comparison.collectives = planned.size();
  for (std::int64_t rank = 0; rank < comparison.ranks; ++rank) {
    const Collectives recorded =
        formats::read_recorded_collectives(formats::collectives_path(run, rank));
    for (Axis axis : kAxes) {
      compare_axis(comparison.axes[static_cast<std::size_t>(axis)], to_string(axis), recorded,
                   rank == 0);
    }
    if (!comparison.difference) comparison.difference = first_difference(planned, recorded, rank);
  }
}

void compare_summaries(Comparison& comparison, const std::filesystem::path& run) {
  for (const formats::RankSummary& summary : formats::read_summaries(run, comparison.ranks)) {
    comparison.steps = std::max(comparison.steps, summary.steps);
    comparison.measured_memory = std::max(comparison.measured_memory, summary.peak_allocated);
    comparison.communication_memory =
        std::max(comparison.communication_memory, summary.peak_communication);
    comparison.measured_step_time =
        std::max(comparison.measured_step_time, summary.median_step_time);
  }
}

Json collective_json(const std::optional<RecordedCollective>& collective) {
  if (!collective) return nullptr;
  return {
      {"kind", collective->kind}, {"axis", collective->axis}, {"bytes", collective->bytes.value}};
}

Json difference_json(double predicted, double measured) {
  const auto difference = relative_difference(predicted, measured);
  return difference ? Json(100 * *difference) : Json(nullptr);
}

Json axis_json(const AxisComparison& axis) {
  return {{"predicted_bytes_per_rank", axis.predicted.value},
          {"measured_bytes_per_rank", axis.measured.value},
          {"difference_percent", difference_json(static_cast<double>(axis.predicted.value),
                                                 static_cast<double>(axis.measured.value))},
          {"predicted_operations", axis.predicted_operations},
          {"measured_operations", axis.measured_operations}};
}

}  // namespace

Comparison compare(const planner::Plan& plan, const std::filesystem::path& run) {
  Comparison comparison;
  comparison.ranks = planner::world_size(plan.layout.mesh);
  require_complete(run, comparison.ranks);
  require_same_plan(plan, run);
  const planner::Estimate estimate =
      planner::estimate(plan.model, plan.cluster, plan.job, plan.layout);
  for (std::size_t a = 0; a < kAxes.size(); ++a) {
    comparison.axes[a].predicted = estimate.traffic[a].bytes;
    comparison.axes[a].predicted_operations = estimate.traffic[a].operations;
  }
  comparison.predicted_memory = estimate.memory.peak_allocated;
  comparison.predicted_step_time = estimate.step_time;
  compare_collectives(comparison, plan, run);
  compare_summaries(comparison, run);
  const std::vector<formats::StepMetrics> steps = formats::read_metrics(formats::metrics_path(run));
  if (steps.empty()) {
    throw Error(ErrorCode::kInvalidInput, "holds no step: the run has not ended well; train again",
                formats::metrics_path(run).string());
  }
  comparison.first_loss = steps.front().loss;
  comparison.last_loss = steps.back().loss;
  return comparison;
}

std::optional<double> relative_difference(double predicted, double measured) {
  if (predicted == measured) return 0.0;
  if (predicted == 0) return std::nullopt;
  return (measured - predicted) / predicted;
}

Json to_json(const Comparison& comparison) {
  Json communication;
  for (Axis axis : {Axis::kTp, Axis::kDpShard, Axis::kDpReplicate, Axis::kCp, Axis::kPp}) {
    communication[to_string(axis)] = axis_json(comparison.axes[static_cast<std::size_t>(axis)]);
  }
  Json difference = nullptr;
  if (comparison.difference) {
    difference = {{"rank", comparison.difference->rank},
                  {"index", comparison.difference->index},
                  {"planned", collective_json(comparison.difference->planned)},
                  {"recorded", collective_json(comparison.difference->recorded)}};
  }
  const auto memory = [](Bytes size) { return static_cast<double>(size.value); };
  return {{"schema_version", 1},
          {"ranks", comparison.ranks},
          {"steps", comparison.steps},
          {"communication", communication},
          {"collectives",
           {{"planned", comparison.collectives},
            {"equal", !comparison.difference},
            {"first_difference", difference}}},
          {"memory",
           {{"predicted_peak_allocated_bytes", comparison.predicted_memory.value},
            {"measured_peak_allocated_bytes", comparison.measured_memory.value},
            {"difference_percent", difference_json(memory(comparison.predicted_memory),
                                                   memory(comparison.measured_memory))},
            {"measured_peak_communication_bytes", comparison.communication_memory.value}}},
          {"step_time",
           {{"predicted_s", comparison.predicted_step_time.value},
            {"measured_median_s", comparison.measured_step_time.value},
            {"difference_percent", difference_json(comparison.predicted_step_time.value,
                                                   comparison.measured_step_time.value)}}},
          {"loss", {{"first", comparison.first_loss}, {"last", comparison.last_loss}}}};
}

}  // namespace meshplan::cli

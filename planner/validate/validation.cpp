#include "planner/validate/validation.h"

namespace meshplan::planner {
namespace {

double as_double(std::int64_t value) { return static_cast<double>(value); }

/// FLOPs of a step as their authors count them: attention without the causal mask (Narayanan et
/// al. 2021, arXiv 2104.04473), with what full checkpointing computes again where they say so.
double counted_flops(const MeasuredRun& measured) {
  const PeerRun& run = *measured.run;
  const PeerModel& model = run.model;
  const double hidden = as_double(model.hidden_size);
  const double blocks = as_double(model.num_hidden_layers) *
                        (2 * block_parameters(model) + 4 * as_double(run.seq_length) * hidden);
  const double head = 2 * hidden * as_double(model.vocab_size);
  const double passes = measured.tflops_count_recomputation ? 4 : 3;
  const double tokens = as_double(run.microbatch_size) * as_double(run.accumulation) *
                        as_double(data_parallel_size(run.mesh)) * as_double(run.seq_length);
  return tokens * (passes * blocks + 3 * head);
}

std::optional<double> throughput_ratio(const MeasuredRun& measured, const PeerEstimate& predicted) {
  if (measured.tokens_per_second_per_gpu)
    return predicted.tokens_per_second_per_gpu / *measured.tokens_per_second_per_gpu;
  if (measured.step_time_s) return *measured.step_time_s / predicted.step_time.value;
  if (measured.tflops_per_gpu)
    return counted_flops(measured) / predicted.step_time.value /
           as_double(world_size(measured.run->mesh)) / (1e12 * *measured.tflops_per_gpu);
  return std::nullopt;
}

double predicted_memory(const MeasuredRun& measured, const PeerEstimate& predicted) {
  const common::Bytes bytes =
      measured.memory_kind == MemoryKind::kReserved ? predicted.peak_reserved
      : measured.run->runtime->reports_rank_0       ? predicted.peak_allocated_first_stage
                                                    : predicted.peak_allocated;
  return as_double(bytes.value) / as_double(common::kGiB.value);
}

std::optional<double> error_of(std::optional<double> ratio) {
  // A measurement of zero gives no ratio.
  if (!ratio || !(*ratio > 0) || *ratio > 1e12) return std::nullopt;
  return *ratio - 1;
}

ValidatedRun validate_run(MeasuredRun measured) {
  ValidatedRun result{
      .measured = std::move(measured), .predicted = {}, .throughput_error = {}, .memory_error = {}};
  if (!result.measured.run) return result;
  result.predicted = estimate(*result.measured.run);
  const RunErrors errors = errors_of(result.measured, *result.predicted);
  result.throughput_error = errors.throughput;
  result.memory_error = errors.memory;
  return result;
}

}  // namespace

RunErrors errors_of(const MeasuredRun& measured, const PeerEstimate& predicted) {
  RunErrors errors;
  if (measured.status != "ok") return errors;
  if (measured.throughput_doubt.empty())
    errors.throughput = error_of(throughput_ratio(measured, predicted));
  if (measured.memory_doubt.empty() && measured.peak_memory_gib)
    errors.memory = error_of(predicted_memory(measured, predicted) / *measured.peak_memory_gib);
  return errors;
}

std::vector<ValidatedRun> validate(std::vector<MeasuredRun> runs) {
  std::vector<ValidatedRun> validated;
  validated.reserve(runs.size());
  for (MeasuredRun& run : runs) validated.push_back(validate_run(std::move(run)));
  return validated;
}

}  // namespace meshplan::planner

#pragma once

#include <c10/core/Device.h>

#include "executor/calibrate/collective_work.h"
#include "executor/calibrate/rank_timer.h"
#include "planner/cluster/cluster_spec.h"
#include "planner/layout/layout.h"
#include "planner/model/model_spec.h"

namespace meshplan::executor {

/// Whose shapes are measured.
struct MeasuredJob {
  planner::ModelSpec model;
  planner::Job job;
  planner::Layout layout;
};

/// Sets what the device reaches in the kernels of training steps, all ranks at once: of the job, of
/// sequences four times as long on one rank, and of a model twice as wide. Too much for a minute is
/// measured on fewer tokens. Rates are a step's: all of its FLOPs, or bytes, by the time that they
/// take. Returns the step's smallest multiply, repeated, which collectives are measured beside.
ComputeWork measure_device(const RankTimer& timer, const MeasuredJob& measured, at::Device device,
                           planner::DeviceSpec& spec);

}  // namespace meshplan::executor

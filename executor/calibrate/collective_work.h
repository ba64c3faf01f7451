#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <functional>

#include "executor/calibrate/fit.h"
#include "executor/calibrate/rank_timer.h"
#include "executor/comm/communicator.h"

namespace meshplan::executor {

/// Work of every rank between two collectives of a training step.
using ComputeWork = std::function<void()>;

/// Seconds that a collective of float32 adds to the work before it, by the bytes that a ring sends
/// for it and the ring's steps: the mean after short and long work. So ranks come to it as they do
/// in a step: apart from one another, and, where they share cores, while others compute.
Measurement measure_collective(const RankTimer& timer, const ComputeWork& compute,
                               Communicator& group, planner::CollectiveKind kind,
                               std::int64_t elements, at::Device device);

/// The part of a collective over the group that is hidden behind work that runs beside it, from 0
/// to 1: an all-gather's and a reduce-scatter's mean.
double measure_overlap(const RankTimer& timer, const ComputeWork& compute, Communicator& group,
                       at::Device device);

}  // namespace meshplan::executor

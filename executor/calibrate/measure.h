#pragma once

#include <ATen/core/Tensor.h>

#include <functional>
#include <vector>

#include "executor/calibrate/fit.h"
#include "executor/comm/communicator.h"
#include "planner/cluster/cluster_spec.h"
#include "planner/program/operation.h"

namespace meshplan::executor {

/// Median time of one call over at least `rounds` calls, after a few that are not counted.
double median_seconds(int rounds, const std::function<void()>& call);

/// Time of the matrix multiply [m, k] x [k, n] by its FLOPs.
Measurement measure_matmul(const planner::Operation& matmul, at::ScalarType type,
                           at::Device device);

/// Time of an element-wise sum of two tensors into a third by the bytes that it moves.
Measurement measure_elementwise(std::int64_t elements, at::Device device);

/// Time of a collective over the group by the bytes that a ring sends for it.
Measurement measure_collective(Communicator& group, planner::CollectiveKind kind,
                               std::int64_t elements, at::Device device);

/// The part of an all-gather over the group that is hidden when matrix multiplies run beside it,
/// from 0 to 1.
double measure_overlap(Communicator& group, const planner::Operation& matmul, at::Device device);

}  // namespace meshplan::executor

#pragma once

#include <cstdint>
#include <vector>

#include "executor/sharding/sharded_unit.h"

namespace meshplan::executor {

/// AdamW (Loshchilov, Hutter 2019, arXiv 1711.05101) with torch's defaults for the moments.
struct AdamwOptions {
  double learning_rate = 1e-5;
  double weight_decay = 0.01;
  double beta1 = 0.9;
  double beta2 = 0.999;
  double epsilon = 1e-8;
};

/// Updates the master slices in place from the gradient slices. `step` is the number of the update,
/// from 1.
void adamw_step(std::vector<ShardedUnit>& units, std::int64_t dp_shard_rank,
                const AdamwOptions& options, std::int64_t step);

/// Sum of the squares of this rank's gradient slices, parameters that tp replicates left out unless
/// it is tp's first rank: summed over dp_shard and tp, every element of the model counts once. A
/// float64 scalar on the units' device, for which the host does not wait.
at::Tensor squared_gradient_norm(const std::vector<ShardedUnit>& units, std::int64_t dp_shard_rank,
                                 std::int64_t tp_rank);

/// Multiplies the gradient slices.
void scale_gradients(std::vector<ShardedUnit>& units, double factor);

}  // namespace meshplan::executor

#pragma once

#include <vector>

#include "executor/model/initial_parameters.h"
#include "executor/sharding/sharded_unit.h"
#include "formats/checkpoint_reader.h"

namespace meshplan::executor {

/// Throws kInvalidInput, naming the checkpoint and the first tensor that differs, unless it has
/// float32 parameters and moments of exactly this model.
void check_is_of_model(const formats::CheckpointReader& checkpoint,
                       const planner::ModelSpec& model);

/// Fills masters and moments with this rank's slices, whatever mesh wrote the checkpoint. Throws
/// kCorruptCheckpoint where a piece that the slices touch has another checksum.
void load_state(std::vector<ShardedUnit>& units, const ParameterPlace& place,
                const formats::CheckpointReader& checkpoint);

}  // namespace meshplan::executor

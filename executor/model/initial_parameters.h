#pragma once

#include <cstdint>
#include <filesystem>
#include <vector>

#include "executor/sharding/sharded_unit.h"
#include "planner/program/step_context.h"

namespace meshplan::executor {

/// This rank's place in the two axes that cut parameters.
struct ParameterPlace {
  std::int64_t tp_rank = 0;
  std::int64_t dp_shard_rank = 0;
};

/// Fills the master slices from the safetensors of a Hugging Face model folder, reading this rank's
/// bytes alone. Throws kInvalidInput, naming file and tensor, for a missing tensor, another shape,
/// or a type other than F32, BF16 or F16.
void load_parameters(std::vector<ShardedUnit>& units, const ParameterPlace& place,
                     const std::filesystem::path& folder);

/// Fills the master slices with random values: matrices normal with the model's initializer_range,
/// norms 1, biases 0. An element's value depends on seed, name and place in the whole parameter
/// alone, so it is the same on every mesh.
void randomize_parameters(std::vector<ShardedUnit>& units, const ParameterPlace& place,
                          const planner::ModelSpec& model, std::uint64_t seed);

}  // namespace meshplan::executor

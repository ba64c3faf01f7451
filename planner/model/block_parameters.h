#pragma once

#include <vector>

#include "planner/model/parameter_table.h"

namespace meshplan::planner {

/// True for the weights of single experts, not of the shared one.
bool is_expert(ParameterRole role);

/// The parameters of one decoder block, fused groups adjacent.
std::vector<Parameter> block_parameters(const ModelSpec& model, std::int64_t block);

/// Those outside of the blocks: of the embedding, of the final norm and the head, or of both.
std::vector<Parameter> outer_parameters(const ModelSpec& model, bool embedding, bool head);

}  // namespace meshplan::planner

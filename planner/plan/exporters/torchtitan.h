#pragma once

#include "planner/plan/exporters/targets.h"

namespace meshplan::planner {

/// What both dialects of torchtitan's configuration say.

/// The llama3 flavor of these sizes, or null.
const char* torchtitan_flavor(const ModelSpec& model);
/// "default" reshards blocks after forward, but not with a pipeline.
const char* torchtitan_reshard(const Plan& plan);
/// module_fqns_per_model_part: the modules of each chunk of blocks, as a literal; `head` is the
/// dialect's name of the output head.
std::string torchtitan_model_parts(const Plan& plan, const char* head);
std::vector<std::string> torchtitan_refusals(const Plan& plan);

}  // namespace meshplan::planner

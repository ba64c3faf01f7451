#pragma once

#include "planner/program/operation.h"
#include "planner/program/step_context.h"

namespace meshplan::planner {

/// A block's operations with its matrix multiplies in float8, scaled by tensor and dynamically as
/// torchao's float8 training does it (torchao/float8/float8_linear.py): before each multiply,
/// either operand's largest magnitude is found and the operand cast, so that what is saved stays in
/// param_dtype; the product is of param_dtype. Multiplies with a dimension that 16 does not divide
/// stay as they are. Left out: gathers in float8, and sharing a cast between two multiplies.
Operations in_float8(const StepContext& context, const Operations& operations);

}  // namespace meshplan::planner

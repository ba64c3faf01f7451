#pragma once

#include "planner/program/operation_list.h"
#include "planner/program/step_context.h"
#include "planner/program/step_program.h"

namespace meshplan::planner {

/// The operations of forward, backward and loss; the executor's layers, where it has them, are
/// their counterparts, one to one.
void expand_embedding_forward(OperationList& list, const StepContext& context);
void expand_embedding_backward(OperationList& list, const StepContext& context);
/// The block is that of the instruction's unit.
void expand_block_forward(OperationList& list, const StepContext& context,
                          const Instruction& instruction);
void expand_block_backward(OperationList& list, const StepContext& context,
                           const Instruction& instruction);
void expand_loss(OperationList& list, const StepContext& context);

/// What crosses the border of a pipeline stage: the residual stream at its input (kEmbedding) or
/// output (kHead), or its gradient.
void expand_send(OperationList& list, const StepContext& context, Computation border);
void expand_receive(OperationList& list, const StepContext& context, Computation border);

}  // namespace meshplan::planner

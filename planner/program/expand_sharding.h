#pragma once

#include "planner/program/operation_list.h"
#include "planner/program/step_context.h"
#include "planner/program/step_program.h"

namespace meshplan::planner {

/// The operations of gathering, releasing and reducing, and of the update; the executor's
/// UnitSharding and optimizer are their counterparts, one to one.
void expand_gather(OperationList& list, const StepContext& context, const Instruction& instruction);
void expand_release(OperationList& list, const StepContext& context,
                    const Instruction& instruction);
void expand_reduce_replicated(OperationList& list, const StepContext& context,
                              const Instruction& instruction);
void expand_reduce(OperationList& list, const StepContext& context, const Instruction& instruction);
void expand_sum_replicas(OperationList& list, const StepContext& context,
                         const Instruction& instruction);
/// The two stages that hold a tied weight exchange what each has of its gradient, and add.
void expand_reduce_tied(OperationList& list, const StepContext& context,
                        const Instruction& instruction);
/// The end of the reduction that the instruction retires, if it does.
void expand_retire(OperationList& list, const StepContext& context, const Instruction& instruction);
void expand_optimizer_step(OperationList& list, const StepContext& context);

/// Elements of all of a rank's slices, and of all units whole.
std::int64_t shard_elements(const StepContext& context);
std::int64_t whole_elements(const StepContext& context);

}  // namespace meshplan::planner

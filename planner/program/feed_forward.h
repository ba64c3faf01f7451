#pragma once

#include "planner/program/operation_list.h"
#include "planner/program/step_context.h"
#include "planner/program/step_program.h"

/// The step of the feed-forward demo (planner/model/feed_forward_model.h). Its rows need no
/// gradient, so the backward passes of gate and up read no weight, and w2 runs forward and backward
/// in one, as the loss: every weight is gathered once for a microbatch.
namespace meshplan::planner {

/// The program of a step, as build_program().
StepProgram build_feed_forward_program(const Job& job, const Layout& layout);

/// The operations of kForward and kBackward of gate and up, and of kLoss, which is down's; the
/// executor's feed_forward_demo layers are their counterparts, one to one.
void expand_feed_forward(OperationList& list, const StepContext& context,
                         const Instruction& instruction);

/// Bytes of the rows of one microbatch, which the rank holds all through the step.
std::int64_t feed_forward_row_bytes(const StepContext& context);

/// FLOPs of a rank's step: 4 a row and element of w1 and w3 (output and weight gradient), 6 of w2.
common::Flops feed_forward_flops(const StepContext& context);

}  // namespace meshplan::planner

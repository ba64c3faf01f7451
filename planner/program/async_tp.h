#pragma once

#include "planner/program/operation.h"
#include "planner/program/step_context.h"

namespace meshplan::planner {

/// A block's operations with the collectives of sequence parallelism cut into tp pieces, as
/// PyTorch's symmetric memory does it (torch/distributed/_symmetric_memory: fused all-gather and
/// matmul, fused matmul and reduce-scatter):
///
/// - An all-gather that is waited for at once becomes tp - 1 messages, and the next multiply tp
///   multiplies, of the rank's own rows and then of each message's as it arrives.
/// - A reduce-scatter's multiply becomes tp multiplies, of the rows of each other rank, sent while
///   the next are multiplied, and then of its own; the pieces received are summed at the end.
///
/// What is exposed is what messages take longer than multiplies, the copy to a buffer that the
/// others read, or the sum, and a barrier before and after (a message of no bytes); more launches
/// and smaller multiplies are priced as such. Gathers that run beside other work already stay
/// whole. Requires split tokens.
Operations in_pieces(const StepContext& context, const Operations& operations);

}  // namespace meshplan::planner

#pragma once

#include "planner/runtime/peer_run.h"

namespace meshplan::planner {

/// Llama 3 8B on eight H100 of a node, fully sharded, with sequences of 8,192 tokens.
PeerRun eight_billion(const char* runtime = "torch_eager");

}  // namespace meshplan::planner

#pragma once

#include <string>

#include "planner/layout/layout.h"

namespace meshplan::planner {

/// "tp=8 dp_shard=16 dp_replicate=2 microbatch_size=1": mesh (pp and cp where they are more than 1)
/// and microbatches (accumulation where it is more than 1).
std::string layout_text(const Layout& layout);

/// "1 GPU", "2 GPUs": the count with its noun, which takes an s.
std::string counted(std::int64_t count, const std::string& noun);

}  // namespace meshplan::planner

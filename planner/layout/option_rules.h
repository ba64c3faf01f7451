#pragma once

#include "planner/layout/rule_list.h"

namespace meshplan::planner {

/// The rules of interleaved stages, float8 multiplies, async tp, data types of the optimizer and
/// its place. Requires positive sizes.
void check_options(Rules& rules, const ModelSpec& model, const Job& job, const Layout& layout);

/// What of these a cluster must have: float8 multiplies, tp within a node, a host that is known.
void check_options(Rules& rules, const ClusterSpec& cluster, const Job& job, const Layout& layout);

/// That what its ranks keep on their host fits into a node's memory, where that is known. Requires
/// that no other rule is broken.
void check_host_memory(Rules& rules, const ModelSpec& model, const ClusterSpec& cluster,
                       const Job& job, const Layout& layout);

/// What of them the executor does not run.
void check_executor_options(Rules& rules, const Job& job, const Layout& layout);

}  // namespace meshplan::planner

#pragma once

#include <CLI/CLI.hpp>

#include "simulator/scenario.h"

namespace meshplan::cli {

/// --slow-rank, --slow-node, --speed-spread, --jitter, --seed, --degraded-link, --no-overlap,
/// --overlap, --infinite-bandwidth, --zero-latency.
void add_scenario_flags(CLI::App& app, simulator::Scenario& scenario);

}  // namespace meshplan::cli

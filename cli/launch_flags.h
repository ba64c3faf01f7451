#pragma once

#include <CLI/CLI.hpp>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "formats/launch_flags.h"

namespace meshplan::cli {

/// What the user says about how ranks are started, and about the place of this one.
struct LaunchOptions {
  formats::LaunchFlags rank;
  /// Those of `rank` that were given, with their values, for the rank's program.
  std::vector<std::string> given;

  /// This process starts the ranks of one of so many nodes.
  std::optional<std::int64_t> nodes;
  std::optional<std::int64_t> node_rank;
  std::int64_t max_restarts = 0;
};

/// The flags of formats::launch_flags(); `options` outlives the app.
void add_rank_flags(CLI::App& app, LaunchOptions& options);
/// --nnodes, --node-rank and --max-restarts.
void add_node_flags(CLI::App& app, LaunchOptions& options);

}  // namespace meshplan::cli

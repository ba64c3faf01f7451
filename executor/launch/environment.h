#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>

namespace meshplan::executor {

/// What the launcher says about this process, one rank of world_size. "local" counts the ranks of
/// this node.
struct LaunchEnvironment {
  std::int64_t rank = 0;
  std::int64_t local_rank = 0;
  std::int64_t world_size = 1;
  std::int64_t local_world_size = 1;
  /// Where the ranks meet; empty and 0 for a single process.
  std::string master_address;
  std::uint16_t master_port = 0;
  /// "torchrun", "environment" (plain RANK, WORLD_SIZE and LOCAL_RANK) or "none".
  std::string launcher = "none";
  /// Whether the launcher's own agent serves the store at the master's port, so that no rank may.
  bool use_agent_store = false;

  bool operator==(const LaunchEnvironment&) const = default;
};

using VariableLookup = std::function<std::optional<std::string>(const std::string&)>;

/// Reads the variables of the first launcher that is recognised; a single process without any.
/// Throws kInvalidInput, naming the variables, where they are incomplete, no numbers, or contradict
/// each other.
LaunchEnvironment read_launch_environment(const VariableLookup& lookup);
/// The same for this process's environment.
LaunchEnvironment read_launch_environment();

}  // namespace meshplan::executor

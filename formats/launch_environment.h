#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "formats/launch_flags.h"
#include "formats/launch_variables.h"

namespace meshplan::formats {

/// What the launcher says about this process, one rank of world_size. "local" counts the ranks of
/// this node: rank = node * local_world_size + local_rank.
struct LaunchEnvironment {
  std::int64_t rank = 0;
  std::int64_t local_rank = 0;
  std::int64_t world_size = 1;
  std::int64_t local_world_size = 1;
  /// Where the ranks meet. Empty for a single process, and where the launcher names no place, so
  /// that rank 0 has to publish one.
  std::string master_address;
  /// Ports to meet at. Rank 0 takes the first that is free where there are several; the others find
  /// it by the job's name.
  std::vector<std::uint16_t> master_ports;
  /// Of this start of the job, where there are several ports: "slurm/4711.0/2".
  std::string job;
  /// "torchrun", "environment" (plain RANK, WORLD_SIZE and LOCAL_RANK), "ray", "openmpi", "pmi",
  /// "slurm", "flags", or "none" for a process that nobody started as one of several.
  std::string launcher = "none";
  /// Whether the launcher's own agent serves the store at the master's port, so that no rank may.
  bool use_agent_store = false;
  /// Of the nodes in order, where the launcher tells them.
  std::vector<std::string> hosts;

  bool operator==(const LaunchEnvironment&) const = default;
};

/// Reads the variables of the launcher that started this process: of torchrun, RANK with WORLD_SIZE
/// and LOCAL_RANK, Open MPI, PMI (MPICH, Intel MPI) and Slurm's srun, the first that claims it;
/// Slurm before PMI where both say the same. A single process without any. Throws kInvalidInput,
/// naming the variables, where they are incomplete, no numbers, or contradict each other, where two
/// launchers contradict each other, and where nodes run different numbers of ranks.
LaunchEnvironment read_launch_environment(const VariableLookup& lookup,
                                          const LaunchFlags& flags = {});

/// "rank 3 of 8 by Slurm, 4 a node; the ranks meet at n01:15342".
std::string describe(const LaunchEnvironment& environment);
/// Of --launcher and in messages: "Open MPI" for "openmpi".
std::string launcher_title(const std::string& launcher);

}  // namespace meshplan::formats

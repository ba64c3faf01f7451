#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "formats/launch_variables.h"

namespace meshplan::formats {

/// A process that stands for one node of a job, whose ranks it has to start: a pod of Kubeflow's
/// TrainJob or PyTorchJob.
struct NodeEnvironment {
  std::int64_t nodes = 1;
  std::int64_t node_rank = 0;
  std::string master_address;
  std::uint16_t master_port = 29500;
  /// Whether torchrun finds the other nodes by variables of its own (PET_RDZV_ENDPOINT).
  bool elastic = false;

  bool operator==(const NodeEnvironment&) const = default;
};

/// Read from PET_NNODES, PET_NODE_RANK, PET_MASTER_ADDR and PET_MASTER_PORT, and from the variables
/// of older PyTorchJobs, whose RANK and WORLD_SIZE (without LOCAL_RANK, in Kubernetes) count pods.
/// Empty where there is one node, and where the process is a rank. Throws kInvalidInput.
std::optional<NodeEnvironment> read_node_environment(const VariableLookup& lookup);

}  // namespace meshplan::formats

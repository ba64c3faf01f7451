#pragma once

#include <c10/core/Device.h>
#include <c10/util/intrusive_ptr.h>

#include <array>
#include <chrono>
#include <cstdint>
#include <vector>

#include "executor/comm/collective_log.h"
#include "executor/comm/communicator.h"
#include "planner/layout/device_mesh.h"

namespace c10d {
class Backend;
class Store;
}  // namespace c10d

namespace meshplan::executor {

struct CommunicationOptions {
  /// How long a rank waits in a collective, or for the others to make the groups, before it gives
  /// the group up. Below 60 s by the time that finding the lost rank takes.
  std::chrono::milliseconds timeout = std::chrono::seconds(50);
  /// Threads of each group that run its collectives on CPU: as many can be under way at once.
  int gloo_threads = 2;
  /// Whether all ranks share this machine: they then meet on the loopback interface.
  bool single_node = true;
};

/// One communicator per axis of the mesh for this rank: Gloo on CPU, NCCL on CUDA. Axes of size 1
/// have a group of one. Made by all ranks of the mesh together, over a store whose keys no earlier
/// run has written.
class MeshCommunicators {
 public:
  /// Throws kRankLost when a rank does not come within the timeout, kInvalidInput for a device
  /// without a backend.
  MeshCommunicators(const planner::DeviceMesh& mesh, std::int64_t rank, c10::Device device,
                    const c10::intrusive_ptr<c10d::Store>& store,
                    const CommunicationOptions& options = {});
  /// Waits for what was issued; while an exception passes it leaves the groups to the end of the
  /// process instead.
  ~MeshCommunicators();
  MeshCommunicators(const MeshCommunicators&) = delete;
  MeshCommunicators& operator=(const MeshCommunicators&) = delete;

  Communicator& operator[](planner::Axis axis) {
    return communicators_[static_cast<std::size_t>(axis)];
  }
  /// The collectives issued through the communicators, of all axes in order.
  CollectiveLog& log() { return log_; }

  /// Returns when every rank of the mesh has called it. Not logged.
  void barrier();

 private:
  c10::Device device_;
  CollectiveLog log_;
  std::vector<Communicator> communicators_;
  std::vector<c10::intrusive_ptr<c10d::Backend>> backends_;
  int exceptions_at_birth_;
};

}  // namespace meshplan::executor

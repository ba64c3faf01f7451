#pragma once

#include <c10/core/Device.h>
#include <c10/util/intrusive_ptr.h>

#include <cstdint>
#include <vector>

#include "executor/comm/backends.h"
#include "executor/comm/collective_log.h"
#include "executor/comm/communicator.h"
#include "planner/layout/device_mesh.h"

namespace meshplan::executor {

/// One communicator per axis of the mesh for this rank, over the backend that choose_backend()
/// names. Axes of size 1 have a group of one. Made by all ranks of the mesh together, over a store
/// whose keys no earlier run has written.
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

#pragma once

#include <c10/core/Device.h>
#include <c10/util/intrusive_ptr.h>

#include <chrono>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

namespace c10d {
class Backend;
class Store;
}  // namespace c10d

namespace gloo::transport {
class Device;
}  // namespace gloo::transport

namespace meshplan::executor {

/// What carries the collectives: Gloo on CPU, and on GPUs where ranks share one; NCCL on GPUs.
enum class BackendKind { kGloo, kNccl };

struct CommunicationOptions {
  /// How long a rank waits in a collective, or for the others to make the groups, before it gives
  /// the group up. Below 60 s by the time that finding the lost rank takes.
  std::chrono::milliseconds timeout = std::chrono::seconds(50);
  /// Threads of each group that run its collectives over Gloo: as many can be under way at once.
  int gloo_threads = 2;
  /// Whether all ranks share this machine: they then meet on the loopback interface.
  bool single_node = true;
  /// Otherwise this machine's numeric address that the others reach, for Gloo; empty: that of its
  /// host name. GLOO_SOCKET_IFNAME, where it is set, names the interface instead.
  std::string network_address = {};
  /// None: what MESHPLAN_COMM_BACKEND says (auto, gloo or nccl), auto where it is not set. auto is
  /// Gloo on CPU and where two ranks compute on one GPU, which NCCL refuses; else NCCL.
  std::optional<BackendKind> backend = std::nullopt;
};

/// The ranks that differ on one axis.
struct BackendGroup {
  std::string name;
  int rank;
  std::vector<std::int64_t> members;
};

/// The backend for a run, the same on every rank. Made by all ranks together, over a store whose
/// keys no earlier run has written. Throws kInvalidInput for a name that is none, and for NCCL on
/// CPU or in a build without it.
BackendKind choose_backend(const CommunicationOptions& options, c10::Device device,
                           std::int64_t rank, std::int64_t world_size,
                           const c10::intrusive_ptr<c10d::Store>& store);

/// Makes this rank's backends of one kind.
class BackendFactory {
 public:
  BackendFactory(BackendKind kind, c10::Device device, const CommunicationOptions& options,
                 c10::intrusive_ptr<c10d::Store> store);
  ~BackendFactory();

  /// Connected, and bound to the device where it works on the device's streams. All members of the
  /// group call it.
  c10::intrusive_ptr<c10d::Backend> make(const BackendGroup& group) const;

 private:
  c10::intrusive_ptr<c10d::Backend> make_gloo(const BackendGroup& group) const;
  c10::intrusive_ptr<c10d::Backend> make_nccl(const BackendGroup& group) const;

  BackendKind kind_;
  c10::Device device_;
  CommunicationOptions options_;
  c10::intrusive_ptr<c10d::Store> store_;
  std::vector<std::shared_ptr<gloo::transport::Device>> gloo_devices_;
};

}  // namespace meshplan::executor

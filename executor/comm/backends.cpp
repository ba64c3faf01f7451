#include "executor/comm/backends.h"

#include <fmt/format.h>

#include <cstdlib>
#include <set>
#include <torch/csrc/distributed/c10d/PrefixStore.hpp>
#include <torch/csrc/distributed/c10d/ProcessGroupGloo.hpp>
#include <utility>
#ifdef MESHPLAN_WITH_CUDA
#include <c10/cuda/CUDAFunctions.h>
#include <cuda_runtime_api.h>

#include <torch/csrc/distributed/c10d/ProcessGroupNCCL.hpp>
#endif

#include "common/error.h"

namespace meshplan::executor {
namespace {

using common::Error;
using common::ErrorCode;
using BackendPointer = c10::intrusive_ptr<c10d::Backend>;
using StorePointer = c10::intrusive_ptr<c10d::Store>;

std::optional<BackendKind> backend_named_by_environment() {
  const char* const text = std::getenv("MESHPLAN_COMM_BACKEND");
  const std::string name = text == nullptr ? "" : text;
  if (name.empty() || name == "auto") return std::nullopt;
  if (name == "gloo") return BackendKind::kGloo;
  if (name == "nccl") return BackendKind::kNccl;
  throw Error(ErrorCode::kInvalidInput, fmt::format("{}: use auto, gloo or nccl", name),
              "MESHPLAN_COMM_BACKEND");
}

/// What tells this device from every other, of this machine or another one.
std::string identity_of([[maybe_unused]] c10::Device device) {
#ifdef MESHPLAN_WITH_CUDA
  cudaDeviceProp properties{};
  if (cudaGetDeviceProperties(&properties, device.index()) == cudaSuccess)
    return {std::begin(properties.uuid.bytes), std::end(properties.uuid.bytes)};
#endif
  throw Error(ErrorCode::kInternal, "a device does not tell its identity", device.str());
}

void put(const StorePointer& store, const std::string& key, const std::string& value) {
  store->set(key, std::vector<std::uint8_t>(value.begin(), value.end()));
}

std::string take(const StorePointer& store, const std::string& key) {
  const std::vector<std::uint8_t> value = store->get(key);
  return {value.begin(), value.end()};
}

/// Rank 0 looks at all ranks' devices and tells the others.
bool ranks_share_devices(c10::Device device, std::int64_t rank, std::int64_t world_size,
                         const StorePointer& store) {
  put(store, fmt::format("device/{}", rank), identity_of(device));
  if (rank == 0) {
    std::set<std::string> devices;
    for (std::int64_t other = 0; other < world_size; ++other)
      devices.insert(take(store, fmt::format("device/{}", other)));
    const bool shared = devices.size() < static_cast<std::size_t>(world_size);
    put(store, "devices_are_shared", shared ? "yes" : "no");
  }
  return take(store, "devices_are_shared") == "yes";
}

void set_common_options(c10d::Backend::Options& backend_options, const BackendGroup& group,
                        const CommunicationOptions& options) {
  backend_options.timeout = options.timeout;
  backend_options.group_name = group.name;
  backend_options.global_ranks_in_group.assign(group.members.begin(), group.members.end());
}

}  // namespace

BackendKind choose_backend(const CommunicationOptions& options, c10::Device device,
                           std::int64_t rank, std::int64_t world_size, const StorePointer& store) {
  const std::optional<BackendKind> named =
      options.backend ? options.backend : backend_named_by_environment();
  if (named == BackendKind::kNccl && !device.is_cuda()) {
    throw Error(
        ErrorCode::kInvalidInput,
        fmt::format("nccl: does not communicate from device {}; use gloo or auto", device.str()),
        "communication backend");
  }
  if (named) return *named;
  if (device.is_cpu()) return BackendKind::kGloo;
  if (!device.is_cuda()) {
    throw Error(ErrorCode::kInvalidInput,
                fmt::format("device {}: no communication backend; use cpu or cuda", device.str()));
  }
  if (world_size == 1) return BackendKind::kNccl;
  return ranks_share_devices(device, rank, world_size, store) ? BackendKind::kGloo
                                                              : BackendKind::kNccl;
}

BackendFactory::BackendFactory(BackendKind kind, c10::Device device,
                               const CommunicationOptions& options, StorePointer store)
    : kind_(kind), device_(device), options_(options), store_(std::move(store)) {
  if (kind_ != BackendKind::kGloo) return;
  const std::string address = options_.single_node ? "127.0.0.1" : options_.network_address;
  const bool interface_named = std::getenv("GLOO_SOCKET_IFNAME") != nullptr;
  gloo_devices_ = options_.single_node || !(address.empty() || interface_named)
                      ? std::vector{c10d::ProcessGroupGloo::createDeviceForHostname(address)}
                      : c10d::ProcessGroupGloo::Options::create_default()->devices;
}

BackendFactory::~BackendFactory() = default;

BackendPointer BackendFactory::make(const BackendGroup& group) const {
  return kind_ == BackendKind::kGloo ? make_gloo(group) : make_nccl(group);
}

BackendPointer BackendFactory::make_gloo(const BackendGroup& group) const {
  auto options = c10d::ProcessGroupGloo::Options::create(options_.timeout);
  options->devices = gloo_devices_;
  options->threads = options_.gloo_threads;
  set_common_options(*options, group, options_);
  return c10::make_intrusive<c10d::ProcessGroupGloo>(
      c10::make_intrusive<c10d::PrefixStore>(group.name, store_), group.rank,
      static_cast<int>(group.members.size()), options);
}

BackendPointer BackendFactory::make_nccl([[maybe_unused]] const BackendGroup& group) const {
#ifdef MESHPLAN_WITH_CUDA
  auto options = c10d::ProcessGroupNCCL::Options::create(/*is_high_priority_stream=*/true);
  set_common_options(*options, group, options_);
  c10::cuda::set_device(device_.index());
  auto backend = c10::make_intrusive<c10d::ProcessGroupNCCL>(
      c10::make_intrusive<c10d::PrefixStore>(group.name, store_), group.rank,
      static_cast<int>(group.members.size()), options);
  backend->setBoundDeviceId(device_);
  backend->eagerConnectSingleDevice(device_);
  return backend;
#else
  throw Error(ErrorCode::kInvalidInput, "nccl: this build has none; use a PyTorch with CUDA",
              "communication backend");
#endif
}

}  // namespace meshplan::executor

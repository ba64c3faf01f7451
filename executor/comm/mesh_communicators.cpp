#include "executor/comm/mesh_communicators.h"

#include <ATen/ATen.h>
#include <c10/util/Exception.h>
#include <fmt/format.h>

#include <algorithm>
#include <exception>
#include <torch/csrc/distributed/c10d/PrefixStore.hpp>
#include <torch/csrc/distributed/c10d/ProcessGroupGloo.hpp>
#ifdef MESHPLAN_WITH_CUDA
#include <c10/cuda/CUDAFunctions.h>

#include <torch/csrc/distributed/c10d/ProcessGroupNCCL.hpp>
#endif

#include "common/error.h"
#include "executor/memory/counting_allocator.h"

namespace meshplan::executor {
namespace {

using common::Error;
using common::ErrorCode;
using BackendPointer = c10::intrusive_ptr<c10d::Backend>;
using GlooDevices = std::vector<std::shared_ptr<gloo::transport::Device>>;

struct Group {
  std::string name;
  int rank;
  std::vector<std::int64_t> members;
};

/// This rank's group of the axis, named after its first member: "dp_shard/3".
Group group_on(const planner::DeviceMesh& mesh, planner::Axis axis, std::int64_t rank) {
  std::vector<std::int64_t> members = planner::group_of(mesh, axis, rank);
  const auto place = std::find(members.begin(), members.end(), rank) - members.begin();
  std::string name = fmt::format("{}/{}", planner::to_string(axis), members.front());
  return {std::move(name), static_cast<int>(place), std::move(members)};
}

void set_common_options(c10d::Backend::Options& backend_options, const Group& group,
                        const CommunicationOptions& options) {
  backend_options.timeout = options.timeout;
  backend_options.group_name = group.name;
  backend_options.global_ranks_in_group.assign(group.members.begin(), group.members.end());
}

BackendPointer make_gloo(const Group& group, const c10::intrusive_ptr<c10d::Store>& store,
                         const GlooDevices& devices, const CommunicationOptions& options) {
  auto gloo_options = c10d::ProcessGroupGloo::Options::create(options.timeout);
  gloo_options->devices = devices;
  gloo_options->threads = options.gloo_threads;
  set_common_options(*gloo_options, group, options);
  return c10::make_intrusive<c10d::ProcessGroupGloo>(
      c10::make_intrusive<c10d::PrefixStore>(group.name, store), group.rank,
      static_cast<int>(group.members.size()), gloo_options);
}

GlooDevices make_gloo_devices(const CommunicationOptions& options) {
  if (options.single_node) return {c10d::ProcessGroupGloo::createDeviceForHostname("127.0.0.1")};
  return c10d::ProcessGroupGloo::Options::create_default()->devices;
}

#ifdef MESHPLAN_WITH_CUDA
BackendPointer make_nccl(const Group& group, const c10::intrusive_ptr<c10d::Store>& store,
                         c10::Device device, const CommunicationOptions& options) {
  auto nccl_options = c10d::ProcessGroupNCCL::Options::create(/*is_high_priority_stream=*/true);
  set_common_options(*nccl_options, group, options);
  c10::cuda::set_device(device.index());
  auto backend = c10::make_intrusive<c10d::ProcessGroupNCCL>(
      c10::make_intrusive<c10d::PrefixStore>(group.name, store), group.rank,
      static_cast<int>(group.members.size()), nccl_options);
  backend->setBoundDeviceId(device);
  backend->eagerConnectSingleDevice(device);
  return backend;
}
#endif

BackendPointer make_backend(const Group& group, const c10::intrusive_ptr<c10d::Store>& store,
                            c10::Device device, const GlooDevices& gloo_devices,
                            const CommunicationOptions& options) {
  if (device.is_cpu()) return make_gloo(group, store, gloo_devices, options);
#ifdef MESHPLAN_WITH_CUDA
  if (device.is_cuda()) return make_nccl(group, store, device, options);
#endif
  throw Error(ErrorCode::kInvalidInput,
              fmt::format("device {}: no communication backend; use cpu or cuda", device.str()));
}

}  // namespace

MeshCommunicators::MeshCommunicators(const planner::DeviceMesh& mesh, std::int64_t rank,
                                     c10::Device device,
                                     const c10::intrusive_ptr<c10d::Store>& store,
                                     const CommunicationOptions& options)
    : device_(device), exceptions_at_birth_(std::uncaught_exceptions()) {
  const CommunicationScope scope;
  const bool uses_gloo = device.is_cpu() && planner::world_size(mesh) > 1;
  const GlooDevices devices = uses_gloo ? make_gloo_devices(options) : GlooDevices{};
  for (planner::Axis axis : planner::kAxes) {
    if (mesh.sizes[axis] == 1) {
      communicators_.emplace_back(axis);
      continue;
    }
    const Group group = group_on(mesh, axis, rank);
    try {
      backends_.push_back(make_backend(group, store, device, devices, options));
    } catch (const Error&) {
      throw;
    } catch (const std::exception& error) {
      throw Error(ErrorCode::kRankLost,
                  fmt::format("rank {} could not join group {} of {} ranks: {}", rank, group.name,
                              group.members.size(), error.what()));
    }
    communicators_.emplace_back(axis, group.rank, mesh.sizes[axis], backends_.back(), &log_);
  }
}

MeshCommunicators::~MeshCommunicators() {
  if (std::uncaught_exceptions() > exceptions_at_birth_) {
    for (BackendPointer& backend : backends_) backend.release();
    return;
  }
  for (BackendPointer& backend : backends_) backend->shutdown();
}

void MeshCommunicators::barrier() {
  const CommunicationScope scope;
  const at::Tensor arrived = at::zeros({1}, at::TensorOptions().dtype(at::kLong).device(device_));
  for (Communicator& communicator : communicators_) {
    communicator.unlogged().all_reduce(arrived, ReduceOp::kSum).wait();
  }
  // Reading the value makes the host wait where the collectives run on a device's stream.
  arrived.item<std::int64_t>();
}

}  // namespace meshplan::executor

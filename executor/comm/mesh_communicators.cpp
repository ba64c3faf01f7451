#include "executor/comm/mesh_communicators.h"

#include <ATen/ATen.h>
#include <c10/util/Exception.h>
#include <fmt/format.h>

#include <algorithm>
#include <exception>
#include <torch/csrc/distributed/c10d/Backend.hpp>
#include <torch/csrc/distributed/c10d/Store.hpp>

#include "common/error.h"
#include "executor/memory/counting_allocator.h"

namespace meshplan::executor {
namespace {

using common::Error;
using common::ErrorCode;

/// This rank's group of the axis, named after its first member: "dp_shard/3".
BackendGroup group_on(const planner::DeviceMesh& mesh, planner::Axis axis, std::int64_t rank) {
  std::vector<std::int64_t> members = planner::group_of(mesh, axis, rank);
  const auto place = std::find(members.begin(), members.end(), rank) - members.begin();
  std::string name = fmt::format("{}/{}", planner::to_string(axis), members.front());
  return {std::move(name), static_cast<int>(place), std::move(members)};
}

}  // namespace

MeshCommunicators::MeshCommunicators(const planner::DeviceMesh& mesh, std::int64_t rank,
                                     c10::Device device,
                                     const c10::intrusive_ptr<c10d::Store>& store,
                                     const CommunicationOptions& options)
    : device_(device), exceptions_at_birth_(std::uncaught_exceptions()) {
  const LibraryScope scope;
  const std::int64_t world_size = planner::world_size(mesh);
  const BackendKind kind = choose_backend(options, device, rank, world_size, store);
  std::optional<BackendFactory> factory;
  if (world_size > 1) factory.emplace(kind, device, options, store);
  for (planner::Axis axis : planner::kMeshAxes) {
    if (mesh.sizes[axis] == 1) {
      communicators_.emplace_back(axis);
      continue;
    }
    const BackendGroup group = group_on(mesh, axis, rank);
    try {
      backends_.push_back(factory->make(group));
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
    for (auto& backend : backends_) backend.release();
    return;
  }
  for (auto& backend : backends_) backend->shutdown();
}

void MeshCommunicators::barrier() {
  const LibraryScope scope;
  const at::Tensor arrived = at::zeros({1}, at::TensorOptions().dtype(at::kLong).device(device_));
  for (Communicator& communicator : communicators_) {
    communicator.unlogged().all_reduce(arrived, ReduceOp::kSum).wait();
  }
  // Reading the value makes the host wait where the collectives run on a device's stream.
  arrived.item<std::int64_t>();
}

}  // namespace meshplan::executor

#include "planner/cost/price.h"

#include <algorithm>

#include "planner/cost/collective_time.h"

namespace meshplan::planner {
namespace {

/// What float8 multiplies reach of their peak beside what others do of theirs: 1.716 times the rate
/// of bfloat16 where the peaks are as 2 to 1, fitted to published runs (docs/cost_model.md).
constexpr double kFloat8Reached = 0.858;

constexpr NodeNetwork kNoNetwork;

/// The rate at which bytes pass that a kernel is priced by.
common::BytesPerSecond bandwidth_of(const ClusterSpec& cluster, KernelKind kernel) {
  if (kernel == KernelKind::kHostCopy) return cluster.device.host_bandwidth;
  if (kernel == KernelKind::kHostUpdate)
    return cluster.host_memory_bandwidth * (1.0 / static_cast<double>(cluster.devices_per_node));
  return cluster.device.memory_bandwidth;
}

common::Seconds kernel_time(const ClusterSpec& cluster, common::DataType param_dtype,
                            const Operation& operation) {
  const DeviceSpec& device = cluster.device;
  common::Seconds time = operation.bytes / bandwidth_of(cluster, operation.kernel);
  if (operation.flops.value > 0) {
    const MatmulEfficiency& efficiency = device.matmul;
    const double flops = operation.flops.value / static_cast<double>(operation.groups);
    const common::DataType type = operation.float8 ? common::DataType::kFloat8 : param_dtype;
    const double reached = (operation.float8 ? kFloat8Reached : 1.0) * efficiency.ceiling /
                           (1 + efficiency.half_flops.value / flops);
    time = std::max(time, operation.flops / (matmul_peak(device, type) * reached));
    if (operation.kernel == KernelKind::kAttention && device.attention_rate.value > 0)
      time = std::max(time, operation.flops / device.attention_rate);
  }
  return device.launch_overhead + time;
}

/// Links that were measured, described so that groups which leave them have them at their ends.
NodeLinks links_of(const LinkSpec& measured) {
  return {
      .bandwidth = measured.all_gather.bandwidth, .start = {}, .hop = measured.all_gather.latency};
}

common::Seconds measured_time(const LinkSpec& link, const Operation& operation,
                              std::int64_t ranks) {
  const CollectiveCost& cost = link[operation.collective];
  return static_cast<double>(ranks - 1) * cost.latency +
         wire_bytes(operation.collective, operation.bytes, ranks) / cost.bandwidth;
}

common::Seconds collective_time(const ClusterSpec& cluster, const DeviceMesh& mesh,
                                const Operation& operation) {
  if (const auto described = described_collective(cluster, mesh, operation))
    return described->time.total();
  const GroupPlace place = place_of(mesh, operation.axis);
  const std::int64_t ranks = operation.collective == CollectiveKind::kSend ? 2 : place.ranks;
  return measured_time(place.nodes > 1 ? cluster.inter_node : link_within_node(cluster, ranks),
                       operation, ranks);
}

}  // namespace

bool spans_nodes(const DeviceMesh& mesh, Axis axis) { return place_of(mesh, axis).nodes > 1; }

std::optional<DescribedCollective> described_collective(const ClusterSpec& cluster,
                                                        const DeviceMesh& mesh,
                                                        const Operation& operation) {
  const GroupPlace place = place_of(mesh, operation.axis);
  const bool described =
      place.nodes > 1 ? cluster.node_network.has_value() : cluster.node_links.has_value();
  if (!described || place.ranks <= 1) return std::nullopt;
  DescribedCollective collective{
      .links = cluster.node_links ? *cluster.node_links : links_of(cluster.intra_node),
      .network = cluster.node_network ? *cluster.node_network : kNoNetwork,
      .place = place,
      .time = {}};
  collective.time = collective_time(collective.links, collective.network, operation.collective,
                                    operation.bytes, place);
  return collective;
}

common::Bytes wire_bytes(CollectiveKind kind, common::Bytes bytes, std::int64_t n) {
  if (kind == CollectiveKind::kSend) return bytes;
  const std::int64_t once = bytes.value / n * (n - 1) + bytes.value % n * (n - 1) / n;
  return common::Bytes(kind == CollectiveKind::kAllReduce ? 2 * once : once);
}

Price price(const ClusterSpec& cluster, const DeviceMesh& mesh, common::DataType param_dtype,
            const Operation& operation) {
  switch (operation.kind) {
    case OperationKind::kKernel:
      return {.duration = kernel_time(cluster, param_dtype, operation), .taken_from_compute = {}};
    case OperationKind::kCollective: {
      const common::Seconds time = collective_time(cluster, mesh, operation);
      // On the compute stream itself a collective takes all of its time from compute anyway.
      const double share = operation.stream == Stream::kCompute ? 0 : 1 - cluster.overlap;
      return {.duration = time, .taken_from_compute = share * time};
    }
    case OperationKind::kWait:
    case OperationKind::kAllocate:
    case OperationKind::kFree:
      break;
  }
  return {};
}

}  // namespace meshplan::planner

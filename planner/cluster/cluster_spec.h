#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "common/data_type.h"
#include "common/json.h"
#include "common/units.h"
#include "planner/cluster/network.h"

namespace meshplan::planner {

enum class DeviceKind { kCpu, kGpu };

/// Fraction of the peak that a matrix multiply of `flops` reaches: 1 / (1 + half_flops / flops),
/// times `ceiling`. half_flops is the size at which half of the ceiling is reached.
struct MatmulEfficiency {
  double ceiling = 1.0;
  common::Flops half_flops;

  bool operator==(const MatmulEfficiency&) const = default;
};

/// One rank's processor: a GPU, or a CPU process's share of its machine.
struct DeviceSpec {
  std::string name;
  DeviceKind kind = DeviceKind::kGpu;
  common::Bytes memory;
  /// Dense peaks. float16: 0 = the rate of bfloat16. float8: 0 = the device has none.
  common::FlopsPerSecond float32_peak;
  common::FlopsPerSecond bfloat16_peak;
  common::FlopsPerSecond float16_peak;
  common::FlopsPerSecond float8_peak;
  MatmulEfficiency matmul;
  /// What attention reaches, forward and backward, where it is slower than matrix multiplies of as
  /// many FLOPs; 0 = not known: as they are.
  common::FlopsPerSecond attention_rate;
  common::BytesPerSecond memory_bandwidth;
  /// Host or launch time that every kernel costs at least.
  common::Seconds launch_overhead;
  /// Drawn under load; 0 = not known.
  common::Watts power;
  /// Between the device and its host, in one direction, all devices of a node at once; 0 = not
  /// known.
  common::BytesPerSecond host_bandwidth;

  bool operator==(const DeviceSpec&) const = default;
};

/// kSend is a message to one neighbour; in kAllToAll each rank sends every other its part of a
/// tensor.
enum class CollectiveKind { kAllReduce, kAllGather, kReduceScatter, kSend, kAllToAll };

/// "all_reduce", "all_gather", "reduce_scatter", "send" or "all_to_all".
const char* to_string(CollectiveKind kind);

/// A collective over n ranks of a link costs latency * (n - 1) + wire bytes / bandwidth, where wire
/// bytes are what a ring, or a pairwise exchange, sends: 2(n-1)/n of the tensor for all_reduce,
/// (n-1)/n of the full tensor for the others (Thakur, Rabenseifner, Gropp 2005).
struct CollectiveCost {
  common::Seconds latency;
  common::BytesPerSecond bandwidth;

  bool operator==(const CollectiveCost&) const = default;
};

/// What a collective of each kind costs over one kind of link: within a node, or between nodes.
struct LinkSpec {
  CollectiveCost all_reduce;
  CollectiveCost all_gather;
  CollectiveCost reduce_scatter;
  /// Where it is not known, an exchange costs what an all_gather does: as many steps, as many
  /// bytes.
  std::optional<CollectiveCost> all_to_all = {};

  /// A message costs what a step of an all_gather's ring does.
  const CollectiveCost& operator[](CollectiveKind kind) const;
  bool operator==(const LinkSpec&) const = default;
};

/// Nodes of equal devices. intra_node joins the devices of a node, inter_node the nodes; both as
/// one device sees them. Where links are described and not measured, collectives are priced by
/// algorithm from node_links and node_network (planner/cost/collective_time.h), and intra_node and
/// inter_node tell the same in the manner of measurements.
struct ClusterSpec {
  std::string name;
  DeviceSpec device;
  std::int64_t nodes = 1;
  std::int64_t devices_per_node = 1;
  LinkSpec intra_node;
  LinkSpec inter_node;
  std::optional<NodeLinks> node_links;
  std::optional<NodeNetwork> node_network;
  /// What collectives over all devices of a node cost, where that is measured apart from those over
  /// fewer: where ranks share cores, a group of all of them waits until each has had its turn.
  std::optional<LinkSpec> whole_node = {};
  /// What inter_node is, by its name in the catalog; empty = another one.
  std::string network;
  /// Of one device; 0 = not known.
  common::PricePerHour price;
  /// Part of a collective's time that runs beside compute without slowing it; the rest is taken
  /// from compute. Measured by calibrate; 1 where a device has engines for it, near 0 on
  /// oversubscribed CPUs.
  double overlap = 1.0;
  /// A node's memory, of its host, and what its processors reach of that memory's bandwidth; 0 =
  /// not known.
  common::Bytes host_memory;
  common::BytesPerSecond host_memory_bandwidth;
  /// Device memory that contexts and the communication library take beside the allocator.
  common::Bytes reserved_memory;
  /// Variables that every rank needs in its environment here: which network interface NCCL takes,
  /// and the like. By name and value, each name once.
  std::vector<std::pair<std::string, std::string>> environment = {};
  /// Where the figures come from.
  std::string source;

  bool operator==(const ClusterSpec&) const = default;
};

std::int64_t world_size(const ClusterSpec& cluster);

/// Scale bandwidth and latency of the links, measured or described, by a factor above 0.
void scale_node_bandwidth(ClusterSpec& cluster, double factor);
void scale_network_bandwidth(ClusterSpec& cluster, double factor);
void scale_latency(ClusterSpec& cluster, double factor);

/// The link of a group of so many ranks within a node.
const LinkSpec& link_within_node(const ClusterSpec& cluster, std::int64_t ranks);

/// The peak of the device for matrix multiplies of this type.
common::FlopsPerSecond matmul_peak(const DeviceSpec& device, common::DataType type);

/// What a user may change of a cluster where it is named. A catalog network replaces inter_node
/// and node_network.
struct ClusterChanges {
  std::optional<std::int64_t> nodes = {};
  std::optional<std::int64_t> devices_per_node = {};
  std::optional<std::string> network = {};
  std::optional<double> price = {};
};

/// `cluster` is a catalog name or a cluster file. Throws kInvalidInput (with the catalog's names)
/// when it is neither, and for changes out of their range.
ClusterSpec load_cluster(const std::string& cluster, const ClusterChanges& changes = {});

/// Reads the JSON of a cluster: all of it, as to_json writes it, or in short: {"gpu", "nodes",
/// "gpus_per_node", "network"}, names of the catalog, and any other field to be set otherwise than
/// the catalog has it. Throws kInvalidInput with everything that is wrong; unknown keys are, too.
ClusterSpec read_cluster(const common::Json& json, const std::string& where);

/// All of it.
common::Json to_json(const ClusterSpec& cluster);

}  // namespace meshplan::planner

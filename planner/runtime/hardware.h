#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "common/units.h"
#include "planner/cluster/cluster_spec.h"

namespace meshplan::planner {

/// What kernels and the links of a node reach in training, fitted to published runs of all GPUs
/// alike (docs/cost_model.md).
struct KernelFigures {
  /// Share of the nominal memory bandwidth that memory-bound kernels reach.
  double memory_share = 0.8673;
  /// Passes over the operands and the result of a matrix multiply that its arithmetic does not
  /// hide.
  double matmul_passes = 1.05;
  /// Time in which a kernel fills and drains the GPU.
  common::Seconds kernel_tail{3.323e-06};
  /// Arithmetic in fp8 against bfloat16, and the passes over the operands that its casts add.
  double fp8_speedup = 1.712;
  double fp8_cast_passes = 0.2603;
  /// Sequence length whose attention takes twice the time that its FLOPs ask for.
  double attention_half_length = 267.9;
  /// Share of the nominal bandwidth between GPUs of a node that collectives and sends reach.
  double link_share = 0.7913;
  /// What issuing a collective and waiting for all of its ranks costs, and each further rank of a
  /// node's ring.
  common::Seconds collective_start{9.417e-05};
  common::Seconds link_hop{2.241e-06};
  common::Seconds send_start{2e-05};
};

/// A GPU model: nominal figures of its maker's datasheet, from the catalog (catalog/gpus), and the
/// shares of them that training reaches, fitted to published runs (docs/cost_model.md).
struct GpuFigures {
  std::string name;
  /// What the catalog, and clusters made from it, call the device.
  std::string title;
  /// Dense bfloat16 and float16 matrix multiply.
  common::FlopsPerSecond peak;
  common::BytesPerSecond memory_bandwidth;
  /// All links of one GPU to the others of its node together, one direction.
  common::BytesPerSecond link;
  /// What PyTorch reports, or the nominal size where that is not known.
  common::Bytes memory;
  /// Share of the peak of a matrix multiply whose memory traffic is hidden.
  double matmul_ceiling = 0;
  /// Share of the peak of fused causal attention, forward and backward, on long sequences.
  double attention_forward = 0;
  double attention_backward = 0;
  /// Whether boards of four have a switch; without one each pair has a third of the links.
  bool switched_in_fours = false;
  KernelFigures kernels;
};

/// The GPU of this catalog name, or null.
const GpuFigures* find_gpu(std::string_view name);

/// The GPU of a cluster's device, by its title in the catalog or by what its driver calls it; or
/// null.
const GpuFigures* find_gpu_of(const DeviceSpec& device);

/// What training reaches on a kind of network, fitted.
struct FabricFigures {
  const char* name;
  /// Share of the nominal bandwidth between two nodes.
  double share;
  /// Time of one step from node to node inside a collective.
  common::Seconds hop;
  /// Loss of bandwidth of a gather or reduce-scatter for each further eight ranks of its ring, as a
  /// share of the time over one node.
  double decay;
  /// What each tensor-parallel collective costs for every node that it spans.
  common::Seconds tensor_parallel_hop;
  /// An all-reduce loses less bandwidth with the size of its group than a gather does: trees.
  double all_reduce_decay = 0.4172;
};

/// Between nodes.
struct NetworkFigures {
  /// Nominal, of one GPU's share of its node's adapters, one direction.
  common::BytesPerSecond nominal;
  const FabricFigures* fabric = nullptr;
};

/// "efa-3200", "roce-1600": Gbit/s a node; "roce-400-per-gpu", "ib-hdr-200-per-gpu": an adapter a
/// GPU. Null for a name that is not of this form, or not of a known fabric. Requires
/// gpus_per_node > 0.
std::optional<NetworkFigures> parse_network(std::string_view name, std::int64_t gpus_per_node);

/// The network taken where none is named: RoCE with 200 Gbit/s a GPU beside A100, 400 beside later
/// ones.
NetworkFigures usual_network(const GpuFigures& gpu);

/// A group of ranks that a collective joins: n ranks, `stride` ranks apart, on nodes of
/// `ranks_per_node`.
struct GroupShape {
  std::int64_t ranks = 1;
  std::int64_t stride = 1;
  std::int64_t ranks_per_node = 1;
};

/// Where a run takes place.
struct Hardware {
  const GpuFigures* gpu = nullptr;
  NetworkFigures network;
};

/// [m, k] x [k, n], `bytes` of operands: arithmetic at the ceiling, plus the memory traffic that it
/// does not hide, plus the tail of a kernel. In fp8 the arithmetic is faster and the casts add
/// traffic.
common::Seconds matmul_time(const GpuFigures& gpu, common::Flops flops, common::Bytes bytes,
                            bool fp8);
/// Fused causal attention over sequences of `seq_length`; short ones waste part of their tiles.
common::Seconds attention_time(const GpuFigures& gpu, common::Flops flops, double seq_length,
                               bool backward);
common::Seconds memory_time(const GpuFigures& gpu, common::Bytes bytes);
/// `bytes`: all_reduce the tensor, all_gather its output, reduce_scatter its input.
common::Seconds collective_time(const Hardware& hardware, CollectiveKind kind, common::Bytes bytes,
                                const GroupShape& group);
/// One message between neighbouring stages, on other nodes or not.
common::Seconds send_time(const Hardware& hardware, common::Bytes bytes, bool between_nodes);

}  // namespace meshplan::planner

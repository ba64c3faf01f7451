#pragma once

#include <optional>

#include "common/data_type.h"
#include "common/units.h"
#include "planner/cluster/cluster_spec.h"
#include "planner/cost/collective_time.h"
#include "planner/layout/device_mesh.h"
#include "planner/program/operation.h"

namespace meshplan::planner {

/// What one operation costs on a cluster.
struct Price {
  common::Seconds duration;
  /// Part of a collective's duration that is taken from compute, as the two share the processor.
  common::Seconds taken_from_compute;
};

/// Whether a group of this axis has ranks on more than one node.
bool spans_nodes(const DeviceMesh& mesh, Axis axis);

/// Bytes that a rank sends in a ring: 2(n-1)/n of the tensor for all_reduce, (n-1)/n of the full
/// tensor for all_gather and reduce_scatter, and for all_to_all, where each rank sends every other
/// its part (Thakur, Rabenseifner, Gropp 2005); all of a message. n >= 1.
common::Bytes wire_bytes(CollectiveKind kind, common::Bytes bytes, std::int64_t n);

/// A collective over links that the cluster describes: they, its ranks, and how it is done there.
struct DescribedCollective {
  NodeLinks links;
  NodeNetwork network;
  GroupPlace place;
  CollectiveTime time;
};

/// Nothing where the links that it spans are measured.
std::optional<DescribedCollective> described_collective(const ClusterSpec& cluster,
                                                        const DeviceMesh& mesh,
                                                        const Operation& operation);

/// Roofline for kernels: launch overhead + max(FLOPs / achieved rate, bytes / memory bandwidth),
/// where a grouped multiply achieves the rate of one of its group; the host's by its link and by a
/// device's share of its memory bandwidth; for collectives collective_time where the links that
/// they span are described, else latency and ring bandwidth of the slowest link, as measured.
/// Allocations and frees cost nothing.
Price price(const ClusterSpec& cluster, const DeviceMesh& mesh, common::DataType param_dtype,
            const Operation& operation);

}  // namespace meshplan::planner

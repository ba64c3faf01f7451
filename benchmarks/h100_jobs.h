#pragma once

#include <cstdint>

#include "planner/search/search.h"

namespace meshplan::benchmarks {

/// The catalog's H100 cluster of so many nodes of 8.
inline planner::ClusterSpec h100_nodes(std::int64_t nodes) {
  planner::ClusterSpec cluster = planner::load_cluster("h100-sxm");
  cluster.nodes = nodes;
  return cluster;
}

inline planner::Job bfloat16_job(std::int64_t seq_length) {
  planner::Job job;
  job.seq_length = seq_length;
  job.param_dtype = common::DataType::kBfloat16;
  return job;
}

/// Tensor parallelism over a node, full sharding over the nodes.
inline planner::Layout tp_in_the_node(const planner::ModelSpec& model,
                                      const planner::ClusterSpec& cluster,
                                      const planner::Job& job) {
  planner::Layout layout;
  layout.mesh.ranks_per_node = cluster.devices_per_node;
  layout.mesh.sizes[planner::Axis::kTp] = cluster.devices_per_node;
  layout.mesh.sizes[planner::Axis::kDpShard] = cluster.nodes;
  layout.loss_chunks = planner::default_loss_chunks(model, job, layout);
  return layout;
}

}  // namespace meshplan::benchmarks

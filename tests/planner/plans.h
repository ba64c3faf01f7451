#pragma once

#include <cstdint>

#include "planner/plan/plan.h"

namespace meshplan::planner {

/// Axis sizes of a test's mesh.
struct MeshSizes {
  std::int64_t dp_replicate = 1;
  std::int64_t dp_shard = 1;
  std::int64_t tp = 1;
};

/// A small model of the family, with biases, q/k norms and ties as asked.
ModelSpec small_model(std::int64_t blocks = 4);

/// The feed-forward demo of these sizes.
ModelSpec feed_forward_model(std::int64_t hidden_size, std::int64_t intermediate_size);

/// A layout of that mesh, all ranks on one node.
Layout layout_of(const MeshSizes& sizes);

/// 128 tokens a sequence, float32.
Job small_job();

/// The catalog's CPU cluster with as many ranks as the mesh has.
ClusterSpec cpu_cluster(const Layout& layout);

/// A plan of these, priced.
Plan plan_of(const ModelSpec& model, const ClusterSpec& cluster, const Job& job,
             const Layout& layout);

}  // namespace meshplan::planner

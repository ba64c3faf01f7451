#pragma once

#include "executor/calibrate/collective_work.h"
#include "executor/calibrate/rank_timer.h"
#include "executor/comm/mesh_communicators.h"
#include "planner/cluster/cluster_spec.h"

namespace meshplan::executor {

/// Sets the cluster's links and overlap: every collective, over sizes, over the groups of each axis
/// and of all ranks, while every group communicates. Links that no group spans are taken to be like
/// the others; a rank alone has none, which is written as its memory.
void measure_links(const RankTimer& timer, const ComputeWork& compute,
                   const planner::DeviceMesh& mesh, MeshCommunicators& groups,
                   MeshCommunicators& all, at::Device device, planner::ClusterSpec& cluster);

}  // namespace meshplan::executor

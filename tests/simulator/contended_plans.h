#pragma once

#include "tests/planner/random_plans.h"

namespace meshplan::simulator {

/// A plan over all axes on a GPU cluster whose links are so slow that transfers take most of the
/// step, and overlap.
inline planner::Plan any_contended_plan() {
  planner::Plan plan = planner::any_plan_over_all_axes();
  planner::ClusterSpec cluster = planner::load_cluster("h100-sxm");
  cluster.nodes = plan.cluster.nodes;
  cluster.devices_per_node = plan.cluster.devices_per_node;
  cluster.overlap = plan.cluster.overlap;
  if (*rc::gen::arbitrary<bool>()) {
    cluster.node_network->nodes_per_leaf = 1;
    cluster.node_network->oversubscription = 2;
  }
  planner::scale_node_bandwidth(cluster, *rc::gen::element(1e-2, 1e-3));
  planner::scale_network_bandwidth(cluster, *rc::gen::element(1e-2, 1e-3));
  return planner::plan_of(plan.model, cluster, plan.job, plan.layout);
}

}  // namespace meshplan::simulator

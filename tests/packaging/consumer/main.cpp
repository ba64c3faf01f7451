// Prices and plays one layout with meshplan's libraries; writes the plan to the file that is named,
// and both to stdout.
#include <iostream>

#include "planner/plan/plan.h"
#include "planner/search/search.h"
#include "simulator/simulate.h"

int main(int argc, char** argv) {
  using namespace meshplan;
  if (argc != 2) return 2;
  planner::Plan plan;
  plan.model = planner::load_model("llama-3-8b");
  plan.model_source = "llama-3-8b";
  plan.cluster = planner::load_cluster("h100-sxm");
  plan.job.seq_length = 8192;
  plan.job.param_dtype = common::DataType::kBfloat16;
  plan.layout.mesh.ranks_per_node = plan.cluster.devices_per_node;
  plan.layout.mesh.sizes[planner::Axis::kDpShard] = 4;
  plan.layout.mesh.sizes[planner::Axis::kTp] = 2;
  plan.layout.sequence_parallel =
      planner::default_sequence_parallel(plan.model, plan.layout, plan.job);
  plan.layout.loss_chunks = planner::default_loss_chunks(plan.model, plan.job, plan.layout);
  plan.estimate = planner::estimate(plan.model, plan.cluster, plan.job, plan.layout);
  planner::save_plan(plan, argv[1]);
  const common::Json both = {{"estimate", to_json(plan.estimate)},
                             {"simulated", to_json(simulator::simulate(plan))}};
  std::cout << both.dump(2) << "\n";
}

#include "planner/cost/token_cost.h"

namespace meshplan::planner {

TokenCost token_cost(const ClusterSpec& cluster, double tokens_per_second_per_gpu) {
  const double device_hours = 1e6 / tokens_per_second_per_gpu / 3600;
  TokenCost cost;
  if (cluster.price.value > 0) cost.price = cluster.price.value * device_hours;
  if (cluster.device.power.value > 0)
    cost.kilowatt_hours = cluster.device.power.value / 1000 * device_hours;
  return cost;
}

}  // namespace meshplan::planner

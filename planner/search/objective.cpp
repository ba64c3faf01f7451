#include "planner/search/objective.h"

#include <fmt/format.h>

#include <array>

#include "common/error.h"

namespace meshplan::planner {
namespace {

constexpr std::array kObjectives = {Objective::kThroughput, Objective::kMemory, Objective::kCost,
                                    Objective::kEnergy};

}  // namespace

const char* to_string(Objective objective) {
  switch (objective) {
    case Objective::kThroughput:
      return "throughput";
    case Objective::kMemory:
      return "memory";
    case Objective::kCost:
      return "cost";
    case Objective::kEnergy:
      return "energy";
  }
  return "throughput";
}

Objective parse_objective(const std::string& name, const std::string& where) {
  for (Objective objective : kObjectives) {
    if (name == to_string(objective)) return objective;
  }
  throw common::Error(common::ErrorCode::kInvalidInput,
                      "unknown value '" + name + "'; use throughput, memory, cost or energy",
                      where);
}

void require_known(Objective objective, const ClusterSpec& cluster) {
  const auto refuse = [&](const char* lacking, const char* remedy) {
    throw common::Error(common::ErrorCode::kInvalidInput,
                        fmt::format("objective={}: cluster {} has no {}; {}", to_string(objective),
                                    cluster.name, lacking, remedy));
  };
  if (objective == Objective::kCost && cluster.price.value <= 0)
    refuse("price", "give one with --gpu-price, or as price_per_gpu_hour in a cluster file");
  if (objective == Objective::kEnergy && cluster.device.power.value <= 0)
    refuse("power of its devices", "give it as device.power_w in a cluster file");
}

double score(const Estimate& estimate, const ClusterSpec& cluster, Objective objective) {
  const double device_seconds = 1 / estimate.tokens_per_second_per_gpu;
  switch (objective) {
    case Objective::kThroughput:
      return device_seconds;
    case Objective::kMemory:
      return static_cast<double>(estimate.memory.peak_device.value);
    case Objective::kCost:
      return cluster.price.value / 3600 * device_seconds;
    case Objective::kEnergy:
      return cluster.device.power.value * device_seconds;
  }
  return device_seconds;
}

}  // namespace meshplan::planner

#pragma once

#include <string>

#include "planner/cost/estimate.h"

namespace meshplan::planner {

/// What layouts are ranked by. kThroughput: time per token. kMemory: head-room of the device.
/// kCost: money per token. kEnergy: joules per token. On one cluster the last two follow time per
/// token, as price and power are those of all its devices.
enum class Objective { kThroughput, kMemory, kCost, kEnergy };
const char* to_string(Objective objective);
Objective parse_objective(const std::string& name, const std::string& where);

/// Throws kInvalidInput, with what to give, where the cluster lacks the price or the power that the
/// objective counts.
void require_known(Objective objective, const ClusterSpec& cluster);

/// Lower is better: device seconds, peak bytes of the device, money or joules, all but the bytes
/// per token. Requires a valid layout's estimate, and what require_known() asks for.
double score(const Estimate& estimate, const ClusterSpec& cluster, Objective objective);

}  // namespace meshplan::planner

#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "cli/options.h"
#include "planner/plan/plan.h"

namespace meshplan::cli {

/// Tokens of a sequence where nothing is said.
inline constexpr std::int64_t kDefaultSeqLength = 2048;

/// What `meshplan train` makes a plan from where it is not given one.
struct TrainPlanFlags {
  std::string model;
  ClusterFlags cluster;
  JobFlags job;
  LayoutFlags layout;
  std::int64_t tp_size = 1;
  std::optional<std::int64_t> dp_size;
  std::optional<std::int64_t> dp_shard;
  std::optional<std::int64_t> dp_replicate;
  std::optional<std::int64_t> num_workers;
};

/// The plan. Data parallelism is sharding (dp_replicate 1) unless the flags or no_shard say
/// otherwise, and
/// without --cluster the cluster is this machine with one rank a device: its GPUs as the catalog
/// knows them, or CPU ranks, on so many nodes. Throws kInvalidInput with everything that is wrong,
/// a line each.
planner::Plan make_train_plan(const TrainPlanFlags& flags, std::int64_t nodes);

/// "num_workers=5: must equal tp_size=2 x dp_size=2 = 4"; empty where they agree.
std::string worker_mismatch(std::int64_t num_workers, std::int64_t tp, std::int64_t dp);

}  // namespace meshplan::cli

#pragma once

#include <cstdint>
#include <string>
#include <torch/csrc/distributed/c10d/Store.hpp>
#include <vector>

#include "planner/layout/device_mesh.h"

namespace meshplan::executor {

/// Where a rank runs.
struct RankPlacement {
  std::string host;
  std::int64_t local_rank = 0;

  bool operator==(const RankPlacement&) const = default;
};

/// The first tensor-parallel group that is spread over more hosts than the plan has nodes for it,
/// in words, with the remedy; empty where there is none. `placements` is indexed by rank.
std::string spread_group(const planner::DeviceMesh& mesh,
                         const std::vector<RankPlacement>& placements);

/// Makes sure that no group of tp straddles hosts against the plan: its links are planned to be
/// those within a node. Every rank calls it, and tells the others its placement through the store.
/// Where one is spread, rank 0 throws kInvalidInput, and the others end with that exit code without
/// a word, so that it is said once.
void check_placement(c10d::Store& store, const planner::DeviceMesh& mesh, std::int64_t rank,
                     const RankPlacement& own);

}  // namespace meshplan::executor

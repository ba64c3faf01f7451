#include "executor/run/placement_check.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <chrono>
#include <set>
#include <thread>

#include "common/error.h"
#include "common/json.h"
#include "executor/launch/leave.h"

namespace meshplan::executor {
namespace {

using planner::Axis;

/// For rank 0 to say what is wrong before its launcher sees another rank end.
constexpr std::chrono::milliseconds kRankZeroFirst{1500};

std::string key_of(std::int64_t rank) { return fmt::format("placement/{}", rank); }

std::string to_text(const RankPlacement& placement) {
  return common::Json{{"host", placement.host}, {"local_rank", placement.local_rank}}.dump(
      -1, ' ', false, common::Json::error_handler_t::replace);
}

RankPlacement parse_placement(const std::string& text) {
  const common::Json json = common::parse_json(text, "placement of a rank");
  const common::JsonObject object(json, "placement of a rank");
  return {object.text("host"), object.integer("local_rank")};
}

}  // namespace

std::string spread_group(const planner::DeviceMesh& mesh,
                         const std::vector<RankPlacement>& placements) {
  const std::int64_t tp = mesh.sizes[Axis::kTp];
  for (std::int64_t first = 0; first < planner::world_size(mesh); first += tp) {
    std::set<std::string> hosts;
    std::set<std::int64_t> nodes;
    std::vector<std::string> members;
    for (std::int64_t rank = first; rank < first + tp; ++rank) {
      const RankPlacement& placement = placements[static_cast<std::size_t>(rank)];
      hosts.insert(placement.host);
      nodes.insert(planner::node_of(mesh, rank));
      members.push_back(fmt::format("rank {} is local rank {} on {}", rank, placement.local_rank,
                                    placement.host));
    }
    if (hosts.size() <= nodes.size()) continue;
    return fmt::format(
        "the tp group of ranks {} to {} is spread over {} hosts, and the plan has it on {} of its "
        "nodes: {}; start {} consecutive ranks on each node (srun --distribution=block, mpirun "
        "--map-by ppr:{}:node, torchrun --nproc-per-node {})",
        first, first + tp - 1, hosts.size(), nodes.size(), fmt::join(members, ", "),
        mesh.ranks_per_node, mesh.ranks_per_node, mesh.ranks_per_node);
  }
  return "";
}

void check_placement(c10d::Store& store, const planner::DeviceMesh& mesh, std::int64_t rank,
                     const RankPlacement& own) {
  store.set(key_of(rank), to_text(own));
  std::vector<RankPlacement> placements;
  for (std::int64_t other = 0; other < planner::world_size(mesh); ++other)
    placements.push_back(parse_placement(store.get_to_str(key_of(other))));
  const std::string spread = spread_group(mesh, placements);
  if (spread.empty()) return;
  const common::Error error(common::ErrorCode::kInvalidInput, spread, "placement");
  if (rank == 0) throw error;
  if (!claim_leaving()) wait_for_the_end();
  std::this_thread::sleep_for(kRankZeroFirst);
  leave(error.exit_code());
}

}  // namespace meshplan::executor

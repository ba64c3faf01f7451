#include "simulator/scenario.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>

#include "common/complaints.h"
#include "planner/cost/price.h"
#include "simulator/noise.h"
#include "simulator/rank_groups.h"

namespace meshplan::simulator {
namespace {

constexpr double kSlowest = 100;
constexpr double kFastest = 0.1;
constexpr double kWorstLink = 0.001;

/// Series of random numbers of one seed.
constexpr std::uint64_t kSpeeds = 1;

std::int64_t node_count(const planner::DeviceMesh& mesh) {
  return (planner::world_size(mesh) + mesh.ranks_per_node - 1) / mesh.ranks_per_node;
}

void check_all(common::Complaints& complaints, const std::vector<Exception>& exceptions,
               const char* flag, const char* what, std::int64_t count, double least, double most) {
  std::vector<std::int64_t> seen;
  for (const Exception& exception : exceptions) {
    if (exception.index < 0 || exception.index >= count) {
      complaints.add(flag, fmt::format("there is no {} {}; the layout has {}s 0 to {}", what,
                                       exception.index, what, count - 1));
    }
    if (!(exception.factor >= least && exception.factor <= most)) {
      complaints.add(flag, fmt::format("{} {}: the factor {} must be from {} to {}", what,
                                       exception.index, exception.factor, least, most));
    }
    if (std::ranges::count(seen, exception.index) == 1)
      complaints.add(flag,
                     fmt::format("{} {} is named twice; name it once", what, exception.index));
    seen.push_back(exception.index);
  }
}

void check_spread(common::Complaints& complaints, double spread, const char* flag) {
  constexpr double kMost = static_cast<double>(Noise::kMaxSpread) / static_cast<double>(kOne);
  if (!(spread >= 0 && spread <= kMost))
    complaints.add(flag, fmt::format("{} must be from 0 to {}, a standard deviation relative to 1",
                                     spread, kMost));
}

void require(common::Complaints& complaints, bool holds, const char* flag, const char* message) {
  if (!holds) complaints.add(flag, message);
}

/// How many times as long bytes take on each node's network; empty where none is degraded.
std::vector<Millionths> node_factors(const Scenario& scenario, const planner::DeviceMesh& mesh) {
  if (scenario.degraded_links.empty() || scenario.infinite_bandwidth) return {};
  std::vector<Millionths> factors(static_cast<std::size_t>(node_count(mesh)), kOne);
  for (const Exception& link : scenario.degraded_links)
    factors[static_cast<std::size_t>(link.index)] = millionths(1 / link.factor);
  return factors;
}

std::size_t node_index(const planner::DeviceMesh& mesh, std::int64_t rank) {
  return static_cast<std::size_t>(planner::node_of(mesh, rank));
}

}  // namespace

Exception parse_exception(const std::string& text, const std::string& flag) {
  Exception exception;
  const char* const end = text.data() + text.size();
  const auto index = std::from_chars(text.data(), end, exception.index);
  if (index.ec == std::errc{} && index.ptr != end && *index.ptr == ':') {
    const auto factor = std::from_chars(index.ptr + 1, end, exception.factor);
    if (factor.ec == std::errc{} && factor.ptr == end) return exception;
  }
  throw common::Error(common::ErrorCode::kInvalidInput,
                      "'" + text + "' must be a number and a factor, like 3:1.1", flag);
}

void require_valid(const Scenario& scenario, const planner::DeviceMesh& mesh) {
  common::Complaints complaints;
  const std::int64_t ranks = planner::world_size(mesh);
  check_all(complaints, scenario.slow_ranks, "--slow-rank", "rank", ranks, kFastest, kSlowest);
  check_all(complaints, scenario.slow_nodes, "--slow-node", "node", node_count(mesh), kFastest,
            kSlowest);
  check_all(complaints, scenario.degraded_links, "--degraded-link", "node", node_count(mesh),
            kWorstLink, 1);
  check_spread(complaints, scenario.speed_spread, "--speed-spread");
  check_spread(complaints, scenario.jitter, "--jitter");
  if (scenario.overlap) {
    if (!(*scenario.overlap >= 0 && *scenario.overlap <= 1)) {
      complaints.add("--overlap", fmt::format("{} must be from 0 to 1: the part of a collective's "
                                              "time that compute does not feel",
                                              *scenario.overlap));
    }
    require(complaints, !scenario.no_overlap, "--overlap",
            "means nothing beside --no-overlap; leave one out");
  }
  require(complaints, !(scenario.infinite_bandwidth && !scenario.degraded_links.empty()),
          "--degraded-link", "means nothing beside --infinite-bandwidth; leave one out");
  require(complaints, scenario.degraded_links.empty() || node_count(mesh) > 1, "--degraded-link",
          "all ranks are on one node, whose links are not the network's; use more nodes");
  complaints.throw_if_any("scenario");
}

bool tells_ranks_apart(const Scenario& scenario) {
  return !scenario.slow_ranks.empty() || !scenario.slow_nodes.empty() ||
         scenario.speed_spread > 0 || scenario.jitter > 0 || !scenario.degraded_links.empty();
}

std::vector<Millionths> kernel_factors(const Scenario& scenario, const planner::DeviceMesh& mesh) {
  const std::int64_t ranks = planner::world_size(mesh);
  const Noise noise(scenario.seed, kSpeeds, millionths(scenario.speed_spread));
  std::vector<Millionths> factors(static_cast<std::size_t>(ranks));
  for (std::int64_t rank = 0; rank < ranks; ++rank)
    factors[static_cast<std::size_t>(rank)] = noise.factor(static_cast<std::uint64_t>(rank));
  for (const Exception& slow : scenario.slow_ranks) {
    Millionths& factor = factors[static_cast<std::size_t>(slow.index)];
    factor = scaled(factor, millionths(slow.factor));
  }
  for (const Exception& slow : scenario.slow_nodes) {
    const std::int64_t end = std::min((slow.index + 1) * mesh.ranks_per_node, ranks);
    for (std::int64_t rank = slow.index * mesh.ranks_per_node; rank < end; ++rank) {
      Millionths& factor = factors[static_cast<std::size_t>(rank)];
      factor = scaled(factor, millionths(slow.factor));
    }
  }
  return factors;
}

std::vector<Millionths> link_factors(const Scenario& scenario, const planner::DeviceMesh& mesh,
                                     planner::Axis axis) {
  const std::vector<Millionths> of_nodes = node_factors(scenario, mesh);
  if (of_nodes.empty() || !planner::spans_nodes(mesh, axis)) return {};
  const std::int64_t ranks = planner::world_size(mesh);
  const RankGroups groups = rank_groups(mesh, axis, ranks);
  std::vector<Millionths> factors(static_cast<std::size_t>(ranks), kOne);
  for (std::int64_t rank = 0; rank < ranks; ++rank) {
    const std::int64_t first = rank - rank / groups.stride % groups.size * groups.stride;
    Millionths& of_group = factors[static_cast<std::size_t>(first)];
    of_group = std::max(of_group, of_nodes[node_index(mesh, rank)]);
  }
  for (std::int64_t rank = 0; rank < ranks; ++rank) {
    const std::int64_t first = rank - rank / groups.stride % groups.size * groups.stride;
    factors[static_cast<std::size_t>(rank)] = factors[static_cast<std::size_t>(first)];
  }
  return factors;
}

std::vector<Millionths> message_factors(const Scenario& scenario, const planner::DeviceMesh& mesh,
                                        std::int64_t message_distance) {
  const std::vector<Millionths> of_nodes = node_factors(scenario, mesh);
  if (of_nodes.empty()) return {};
  const std::int64_t ranks = planner::world_size(mesh);
  std::vector<Millionths> factors(static_cast<std::size_t>(ranks), kOne);
  for (std::int64_t rank = 0; rank < ranks; ++rank) {
    const std::int64_t other = (rank + message_distance + ranks) % ranks;
    const std::size_t from = node_index(mesh, rank);
    const std::size_t to = node_index(mesh, other);
    if (from != to)
      factors[static_cast<std::size_t>(rank)] = std::max(of_nodes[from], of_nodes[to]);
  }
  return factors;
}

double least_adapters(const Scenario& scenario, const planner::DeviceMesh& mesh,
                      std::int64_t stage) {
  const std::int64_t ranks = planner::world_size(mesh) / mesh.sizes[planner::Axis::kPp];
  const std::int64_t first = planner::node_of(mesh, stage * ranks);
  const std::int64_t last = planner::node_of(mesh, (stage + 1) * ranks - 1);
  double least = 1;
  for (const Exception& link : scenario.degraded_links) {
    if (link.index >= first && link.index <= last) least = std::min(least, link.factor);
  }
  return least;
}

}  // namespace meshplan::simulator

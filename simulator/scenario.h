#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "planner/cluster/cluster_spec.h"
#include "planner/layout/device_mesh.h"
#include "simulator/simulated_time.h"

namespace meshplan::simulator {

/// A rank or a node, and a factor of it.
struct Exception {
  std::int64_t index = 0;
  double factor = 1;

  bool operator==(const Exception&) const = default;
};

/// What is otherwise than the plan has it. The default is the plan as it is: all ranks alike.
struct Scenario {
  /// Ranks, and nodes, whose kernels take so many times as long. A rank's factors multiply.
  std::vector<Exception> slow_ranks = {};
  std::vector<Exception> slow_nodes = {};
  /// Standard deviation of the ranks' factors, and of each rank's kernels from one collective to
  /// the next.
  double speed_spread = 0;
  double jitter = 0;
  std::uint64_t seed = 1;
  /// Nodes whose network carries so much of its bandwidth.
  std::vector<Exception> degraded_links = {};
  /// Compute stands still while a collective runs.
  bool no_overlap = false;
  bool infinite_bandwidth = false;
  bool zero_latency = false;
  /// In place of the cluster's.
  std::optional<double> overlap = {};
  /// Collectives that a rank has under way at once share its links; otherwise each has them to
  /// itself, as in the estimate.
  bool shared_links = false;

  bool operator==(const Scenario&) const = default;
};

/// "3:1.1" as of a flag. Throws kInvalidInput.
Exception parse_exception(const std::string& text, const std::string& flag);

/// Throws kInvalidInput with everything that is out of its range, by the names of the command's
/// flags.
void require_valid(const Scenario& scenario, const planner::DeviceMesh& mesh);

/// Whether ranks of one pipeline stage may take different times.
bool tells_ranks_apart(const Scenario& scenario);

/// Times of a rank's kernels, by rank. Requires a valid scenario.
std::vector<Millionths> kernel_factors(const Scenario& scenario, const planner::DeviceMesh& mesh);

/// By rank, how much longer adapters take for a collective of the rank's group on this axis, or for
/// a message to the rank `message_distance` further; empty where they take as long for all.
std::vector<Millionths> link_factors(const Scenario& scenario, const planner::DeviceMesh& mesh,
                                     planner::Axis axis);
std::vector<Millionths> message_factors(const Scenario& scenario, const planner::DeviceMesh& mesh,
                                        std::int64_t message_distance);

/// The least part of its adapters' bandwidth that any node of the pipeline stage has; at most 1.
double least_adapters(const Scenario& scenario, const planner::DeviceMesh& mesh,
                      std::int64_t stage);

}  // namespace meshplan::simulator

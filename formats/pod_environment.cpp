#include "formats/pod_environment.h"

#include <fmt/format.h>

namespace meshplan::formats {

std::optional<NodeEnvironment> read_node_environment(const VariableLookup& lookup) {
  if (lookup("LOCAL_RANK") || lookup("TORCHELASTIC_RUN_ID")) return std::nullopt;
  NodeEnvironment node;
  if (auto nodes = find_variable(lookup, "PET_NNODES")) {
    // A range of an elastic job, 2:4: its plan says how many ranks there have to be.
    const std::size_t colon = nodes->value.find(':');
    if (colon != std::string::npos) nodes->value.erase(0, colon + 1);
    node.nodes = number_in(*nodes, 1, kMostRanks);
  } else if (lookup("KUBERNETES_SERVICE_HOST") && lookup("RANK") && lookup("WORLD_SIZE")) {
    node.nodes = number_in({"WORLD_SIZE", *lookup("WORLD_SIZE")}, 1, kMostRanks);
  }
  if (node.nodes == 1) return std::nullopt;
  node.elastic = lookup("PET_RDZV_ENDPOINT").has_value();
  if (node.elastic) return node;
  const auto rank = find_variable(lookup, "PET_NODE_RANK|RANK");
  const auto master = find_variable(lookup, "PET_MASTER_ADDR|MASTER_ADDR");
  if (!rank || !master) {
    refuse_launch(fmt::format("{} nodes, but {} is not set: this one does not know {}", node.nodes,
                              rank ? "PET_MASTER_ADDR" : "PET_NODE_RANK",
                              rank ? "where the first one is" : "which one it is"));
  }
  node.node_rank = number_in(*rank, 0, node.nodes - 1);
  node.master_address = master->value;
  if (const auto port = find_variable(lookup, "PET_MASTER_PORT|MASTER_PORT"))
    node.master_port = static_cast<std::uint16_t>(number_in(*port, 1, 65535));
  return node;
}

}  // namespace meshplan::formats

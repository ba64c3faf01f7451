#include "planner/cluster/cluster_fields.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <array>
#include <optional>
#include <string_view>

#include "common/text.h"

namespace meshplan::planner {
namespace {

constexpr std::int64_t kSchemaVersion = 1;

CollectiveCost read_collective(const ClusterFields& fields) {
  return {.latency = fields.seconds("latency_s"),
          .bandwidth = common::BytesPerSecond(fields.rate("bandwidth_bytes_per_s"))};
}

NodeLinks read_node_links(const ClusterFields& fields) {
  return {.bandwidth = common::BytesPerSecond(fields.rate("bandwidth_bytes_per_s")),
          .ring_share = fields.number("ring_share", 1e-3, 1),
          .sharp_share = fields.number_or("sharp_share", 0, 0, 1),
          .mesh = fields.flag_or("mesh", false),
          .start = fields.seconds("start_s"),
          .hop = fields.seconds("hop_s")};
}

NodeNetwork read_node_network(const ClusterFields& fields) {
  return {.adapters = fields.integer("adapters", 1, kMaxAdapters),
          .adapter_bandwidth = common::BytesPerSecond(fields.rate("adapter_bandwidth_bytes_per_s")),
          .share = fields.number("share", 1e-3, 1),
          .hop = fields.seconds("hop_s"),
          .nodes_per_leaf = fields.integer("nodes_per_leaf", 1, kMaxNodes),
          .oversubscription = fields.oversubscription("oversubscription"),
          .nodes_per_pod = fields.integer_or("nodes_per_pod", 0, 0, kMaxNodes),
          .pod_oversubscription = fields.oversubscription("pod_oversubscription"),
          .gather_crowding = fields.number_or("gather_crowding", 0, 0, 2),
          .reduce_crowding = fields.number_or("reduce_crowding", 0, 0, 2)};
}

/// What a cluster may set: a file or plan from elsewhere must not choose what the ranks load or
/// run.
constexpr std::array<std::string_view, 8> kVariablePrefixes = {
    "NCCL_", "TORCH_NCCL_", "RCCL_", "GLOO_", "FI_", "UCX_", "OMP_", "CUDA_DEVICE_"};

bool is_communication_variable(std::string_view name) {
  const auto starts = [name](std::string_view prefix) {
    return name.size() > prefix.size() && name.starts_with(prefix);
  };
  return std::any_of(kVariablePrefixes.begin(), kVariablePrefixes.end(), starts) &&
         name.find_first_not_of("ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_") == name.npos;
}

/// What is wrong with a variable; empty = nothing.
std::string variable_fault(const std::string& name, const common::Json& value) {
  if (!is_communication_variable(name)) {
    return fmt::format("must be a variable of a communication library, in capitals: {}*",
                       fmt::join(kVariablePrefixes, "*, "));
  }
  if (!value.is_string()) return "must be a text";
  const std::string& text = value.get_ref<const std::string&>();
  if (text.size() > kMaxVariableLength || !common::is_one_line(text))
    return fmt::format("must be one line of at most {} bytes", kMaxVariableLength);
  return "";
}

}  // namespace

std::string ClusterFields::text(const char* key) const {
  return complaints_->of([&] { return object_->text(key); });
}

std::string ClusterFields::text_or(const char* key, const std::string& fallback) const {
  return complaints_->of([&] { return object_->text_or(key, fallback); });
}

std::int64_t ClusterFields::integer(const char* key, std::int64_t min, std::int64_t max) const {
  return complaints_->of([&] { return object_->integer(key, min, max); });
}

double ClusterFields::number(const char* key, double min, double max) const {
  return complaints_->of([&] { return object_->number(key, min, max); });
}

bool ClusterFields::flag_or(const char* key, bool fallback) const {
  return complaints_->of([&] { return object_->flag_or(key, fallback); });
}

std::int64_t ClusterFields::integer_or(const char* key, std::int64_t fallback, std::int64_t min,
                                       std::int64_t max) const {
  return object_->is_null(key) ? fallback : integer(key, min, max);
}

double ClusterFields::oversubscription(const char* key) const {
  return number_or(key, 1, 1, kMaxOversubscription);
}

double ClusterFields::number_or(const char* key, double fallback, double min, double max) const {
  return object_->is_null(key) ? fallback : number(key, min, max);
}

double ClusterFields::rate(const char* key) const { return number(key, 1.0, kMaxRate); }

double ClusterFields::rate_or_none(const char* key) const { return number_or(key, 0, 0, kMaxRate); }

common::Seconds ClusterFields::seconds(const char* key) const {
  return common::Seconds(number(key, 0.0, kMaxSeconds));
}

MatmulEfficiency ClusterFields::matmul(const char* key) const {
  return object(key, [](const ClusterFields& fields) {
    return MatmulEfficiency{
        .ceiling = fields.number("ceiling", 1e-3, 1.0),
        .half_flops = common::Flops(fields.number("half_flops", 0.0, kMaxRate))};
  });
}

LinkSpec ClusterFields::link(const char* key) const {
  return object(key, [](const ClusterFields& fields) {
    LinkSpec link{.all_reduce = fields.object("all_reduce", read_collective),
                  .all_gather = fields.object("all_gather", read_collective),
                  .reduce_scatter = fields.object("reduce_scatter", read_collective)};
    if (!fields.json().is_null("all_to_all"))
      link.all_to_all = fields.object("all_to_all", read_collective);
    return link;
  });
}

std::optional<NodeLinks> ClusterFields::node_links(const char* key) const {
  if (object_->is_null(key)) return std::nullopt;
  return object(key, read_node_links);
}

std::optional<NodeNetwork> ClusterFields::node_network(const char* key) const {
  if (object_->is_null(key)) return std::nullopt;
  return object(key, read_node_network);
}

std::vector<std::pair<std::string, std::string>> ClusterFields::environment(const char* key) const {
  std::vector<std::pair<std::string, std::string>> variables;
  if (object_->is_null(key)) return variables;
  complaints_->of([&] {
    const common::JsonObject object = object_->object(key);
    if (object.json().size() > kMaxVariables)
      complaints_->add(object.where(), fmt::format("must have at most {} variables, has {}",
                                                   kMaxVariables, object.json().size()));
    for (const auto& [name, value] : object.json().items()) {
      const std::string fault = variable_fault(name, value);
      if (!fault.empty()) complaints_->add(fmt::format("{}.{:.60}", object.where(), name), fault);
      if (fault.empty()) variables.emplace_back(name, value.get<std::string>());
    }
  });
  return variables;
}

void ClusterFields::reject_unknown_keys() const {
  complaints_->of([&] { object_->reject_unknown_keys(); });
}

void check_schema_version(const ClusterFields& fields) {
  const common::JsonObject& object = fields.json();
  const auto version =
      fields.complaints().of([&] { return std::optional(object.integer("schema_version")); });
  if (version && *version != kSchemaVersion) {
    fields.complaints().add(
        object.where() + ".schema_version",
        fmt::format("must be {}, is {}; write the file with this version of meshplan",
                    kSchemaVersion, *version));
  }
}

}  // namespace meshplan::planner

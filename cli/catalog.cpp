#include "planner/catalog/catalog.h"

#include <fmt/format.h>

#include <array>
#include <memory>
#include <string_view>

#include "cli/command.h"
#include "cli/options.h"
#include "common/text.h"
#include "planner/cluster/gpu_catalog.h"
#include "planner/model/parameter_table.h"

namespace meshplan::cli {
namespace {

using common::Json;
using Table = std::vector<std::vector<std::string>>;

struct CatalogFlags {
  std::string kind;
  bool json = false;
};

std::string count(std::int64_t parameters) {
  return common::human_count(static_cast<double>(parameters));
}

std::string tera(common::FlopsPerSecond rate) {
  return rate.value > 0 ? fmt::format("{:.4g}", rate.value * 1e-12) : "-";
}

std::string giga(common::BytesPerSecond rate) { return fmt::format("{:.4g}", rate.value * 1e-9); }

std::string or_dash(double number) { return number > 0 ? fmt::format("{:.4g}", number) : "-"; }

Table models_table() {
  Table rows = {{"model", "family", "parameters", "active", "blocks", "hidden", "heads", "kv heads",
                 "experts", "vocabulary"}};
  for (const std::string& name : planner::catalog_names("models")) {
    const planner::ModelSpec model = planner::load_model(name);
    const std::int64_t experts = model.moe.num_experts;
    rows.push_back(
        {name, to_string(model.family), count(planner::parameter_count(model)),
         count(planner::active_parameter_count(model)), std::to_string(model.num_hidden_layers),
         std::to_string(model.hidden_size), std::to_string(model.num_attention_heads),
         std::to_string(model.num_key_value_heads),
         experts > 0 ? fmt::format("{} of {}", model.moe.experts_per_token, experts) : "-",
         std::to_string(model.vocab_size)});
  }
  return rows;
}

Table clusters_table() {
  Table rows = {{"cluster", "device", "nodes", "devices per node", "memory",
                 "bfloat16 peak TFLOP/s", "network"}};
  for (const std::string& name : planner::catalog_names("clusters")) {
    const planner::ClusterSpec cluster = planner::load_cluster(name);
    rows.push_back({name, cluster.device.name, std::to_string(cluster.nodes),
                    std::to_string(cluster.devices_per_node), common::human(cluster.device.memory),
                    tera(cluster.device.bfloat16_peak),
                    cluster.network.empty() ? "-" : cluster.network});
  }
  return rows;
}

Table gpus_table() {
  Table rows = {{"gpu", "memory", "float32 TFLOP/s", "bfloat16", "float8", "memory GB/s", "link",
                 "link GB/s", "a node", "power W", "price an hour"}};
  for (const std::string& name : planner::catalog_names("gpus")) {
    const planner::GpuEntry gpu = planner::load_gpu(name, "catalog");
    rows.push_back({name, common::human(gpu.device.memory), tera(gpu.device.float32_peak),
                    tera(gpu.device.bfloat16_peak), tera(gpu.device.float8_peak),
                    giga(gpu.nominal_memory_bandwidth), gpu.link_name, giga(gpu.link_bandwidth),
                    std::to_string(gpu.gpus_per_node), or_dash(gpu.device.power.value),
                    or_dash(gpu.price.value)});
  }
  return rows;
}

Table networks_table() {
  Table rows = {{"network", "GB/s", "of a", "reached", "a hop", "what"}};
  for (const std::string& name : planner::catalog_names("networks")) {
    const planner::NetworkEntry network = planner::load_network(name, "catalog");
    rows.push_back({name, giga(network.bandwidth), network.per_gpu ? "GPU" : "node",
                    percent(network.efficiency), common::human(network.hop), network.title});
  }
  return rows;
}

Json models_json() {
  Json models = Json::array();
  for (const std::string& name : planner::catalog_names("models")) {
    const planner::ModelSpec model = planner::load_model(name);
    models.push_back({{"name", name},
                      {"parameters", planner::parameter_count(model)},
                      {"active_parameters", planner::active_parameter_count(model)},
                      {"config", to_json(model)}});
  }
  return models;
}

Json clusters_json() {
  Json clusters = Json::array();
  for (const std::string& name : planner::catalog_names("clusters"))
    clusters.push_back(to_json(planner::load_cluster(name)));
  return clusters;
}

/// The entries as their files have them.
template <const char* kind>
Json entries_json() {
  Json entries = Json::array();
  for (const std::string& name : planner::catalog_names(kind))
    entries.push_back(common::parse_json(*planner::catalog_text(kind, name), name));
  return entries;
}

constexpr char kGpus[] = "gpus";
constexpr char kNetworks[] = "networks";

struct Kind {
  const char* name;
  Table (*table)();
  Json (*json)();
};

constexpr std::array kKinds = {
    Kind{"models", models_table, models_json},
    Kind{"clusters", clusters_table, clusters_json},
    Kind{kGpus, gpus_table, entries_json<kGpus>},
    Kind{kNetworks, networks_table, entries_json<kNetworks>},
};

int run_catalog(const CatalogFlags& flags) {
  Json json = {{"schema_version", 1}};
  std::string text;
  for (const Kind& kind : kKinds) {
    if (!flags.kind.empty() && flags.kind != kind.name) continue;
    if (flags.json) {
      json[kind.name] = kind.json();
    } else {
      text += (text.empty() ? "" : "\n") + common::format_table(kind.table());
    }
  }
  if (flags.json) {
    print_json(json);
  } else {
    fmt::print("{}", text);
  }
  return 0;
}

}  // namespace

Action define_catalog(CLI::App& app) {
  app.description(
      "List the models, clusters, GPUs and networks that are known by name\n\n"
      "Examples:\n"
      "  meshplan catalog\n"
      "  meshplan catalog gpus --json");
  const auto flags = std::make_shared<CatalogFlags>();
  std::vector<std::string> kinds;
  for (const Kind& kind : kKinds) kinds.emplace_back(kind.name);
  app.add_option("kind", flags->kind, "models, clusters, gpus or networks (default: all)")
      ->check(CLI::IsMember(kinds));
  add_json_flag(app, flags->json);
  return [flags] { return run_catalog(*flags); };
}

}  // namespace meshplan::cli

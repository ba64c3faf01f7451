#include "planner/catalog/catalog.h"

#include <fmt/format.h>

#include <memory>

#include "cli/command.h"
#include "cli/options.h"
#include "common/text.h"
#include "planner/model/parameter_table.h"

namespace meshplan::cli {
namespace {

using common::Json;

struct CatalogFlags {
  std::string kind;
  bool json = false;
};

std::string models_table() {
  std::vector<std::vector<std::string>> rows = {
      {"model", "family", "parameters", "blocks", "hidden", "heads", "kv heads", "vocabulary"}};
  for (const std::string& name : planner::catalog_names("models")) {
    const planner::ModelSpec model = planner::load_model(name);
    rows.push_back({name, to_string(model.family),
                    common::human_count(static_cast<double>(planner::parameter_count(model))),
                    std::to_string(model.num_hidden_layers), std::to_string(model.hidden_size),
                    std::to_string(model.num_attention_heads),
                    std::to_string(model.num_key_value_heads), std::to_string(model.vocab_size)});
  }
  return common::format_table(rows);
}

std::string clusters_table() {
  std::vector<std::vector<std::string>> rows = {{"cluster", "device", "nodes", "devices per node",
                                                 "memory", "bfloat16 peak", "float32 peak"}};
  for (const std::string& name : planner::catalog_names("clusters")) {
    const planner::ClusterSpec cluster = planner::load_cluster(name);
    rows.push_back({name, cluster.device.name, std::to_string(cluster.nodes),
                    std::to_string(cluster.devices_per_node), common::human(cluster.device.memory),
                    fmt::format("{:.4g} TFLOP/s", cluster.device.bfloat16_peak.value * 1e-12),
                    fmt::format("{:.4g} TFLOP/s", cluster.device.float32_peak.value * 1e-12)});
  }
  return common::format_table(rows);
}

Json models_json() {
  Json models = Json::array();
  for (const std::string& name : planner::catalog_names("models")) {
    const planner::ModelSpec model = planner::load_model(name);
    models.push_back({{"name", name},
                      {"parameters", planner::parameter_count(model)},
                      {"config", to_json(model)}});
  }
  return models;
}

Json clusters_json() {
  Json clusters = Json::array();
  for (const std::string& name : planner::catalog_names("clusters")) {
    clusters.push_back(to_json(planner::load_cluster(name)));
  }
  return clusters;
}

int run_catalog(const CatalogFlags& flags) {
  const bool models = flags.kind != "clusters";
  const bool clusters = flags.kind != "models";
  if (flags.json) {
    Json json = {{"schema_version", 1}};
    if (models) json["models"] = models_json();
    if (clusters) json["clusters"] = clusters_json();
    print_json(json);
    return 0;
  }
  if (models) fmt::print("{}", models_table());
  if (models && clusters) fmt::print("\n");
  if (clusters) fmt::print("{}", clusters_table());
  return 0;
}

}  // namespace

Action define_catalog(CLI::App& app) {
  app.description(
      "List the models and clusters that are known by name\n\n"
      "Examples:\n"
      "  meshplan catalog\n"
      "  meshplan catalog clusters --json");
  const auto flags = std::make_shared<CatalogFlags>();
  app.add_option("kind", flags->kind, "models or clusters (default: both)")
      ->check(CLI::IsMember({"models", "clusters"}));
  add_json_flag(app, flags->json);
  return [flags] { return run_catalog(*flags); };
}

}  // namespace meshplan::cli

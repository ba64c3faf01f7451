#include "planner/catalog/catalog.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <map>

#include "common/file.h"
#include "planner/cluster/cluster_spec.h"
#include "planner/model/model_spec.h"
#include "planner/model/parameter_table.h"

namespace meshplan::planner {
namespace {

namespace fs = std::filesystem;

std::vector<std::string> files_on_disk(const std::string& kind) {
  std::vector<std::string> names;
  for (const auto& entry :
       fs::directory_iterator(fs::path(MESHPLAN_SOURCE_DIR) / "catalog" / kind)) {
    if (entry.path().extension() == ".json") names.push_back(entry.path().stem().string());
  }
  std::sort(names.begin(), names.end());
  return names;
}

TEST(Catalog, HoldsEveryFileInAscendingOrder) {
  for (const char* kind : {"models", "clusters"}) {
    EXPECT_EQ(catalog_names(kind), files_on_disk(kind));
    EXPECT_FALSE(catalog_names(kind).empty());
  }
}

TEST(Catalog, HoldsEveryFileByteForByte) {
  for (const std::string kind : {"models", "clusters"}) {
    for (const std::string& name : catalog_names(kind)) {
      const fs::path path = fs::path(MESHPLAN_SOURCE_DIR) / "catalog" / kind / (name + ".json");
      EXPECT_EQ(catalog_text(kind, name), common::read_file(path, common::kGiB)) << path;
    }
  }
}

TEST(Catalog, HasNothingUnderOtherNames) {
  EXPECT_EQ(catalog_text("models", "no-such-model"), std::nullopt);
  EXPECT_EQ(catalog_text("clusters", "llama-3-8b"), std::nullopt);
  EXPECT_TRUE(catalog_names("recipes").empty());
}

TEST(Catalog, EveryModelLoadsUnderItsName) {
  for (const std::string& name : catalog_names("models")) {
    EXPECT_EQ(load_model(name).name, name);
  }
}

TEST(Catalog, EveryClusterLoadsUnderItsNameAndSaysItsSource) {
  for (const std::string& name : catalog_names("clusters")) {
    const ClusterSpec cluster = load_cluster(name);
    EXPECT_EQ(cluster.name, name);
    EXPECT_GT(cluster.source.size(), 40u) << name;
    EXPECT_GT(cluster.device.memory, cluster.reserved_memory) << name;
  }
}

TEST(Catalog, ModelsHaveTheirPublishedParameterCounts) {
  const std::map<std::string, std::int64_t> published = {
      {"demo-qwen2", 4'985'088},
      {"gpt-3-175b", 174'604'259'328},
      {"gpt2", 124'439'808},
      {"llama-3-70b", 70'553'706'496},
      {"llama-3-8b", 8'030'261'248},
      {"llama-3.1-405b", 405'853'388'800},
      {"llama-3.1-8b", 8'030'261'248},
      {"llama-3.2-1b", 1'235'814'400},
      {"mistral-7b-v0.1", 7'241'732'096},
      {"mixtral-8x7b-v0.1", 46'702'792'704},
      {"qwen2-7b", 7'615'616'512},
      {"qwen2.5-0.5b", 494'032'768},
      {"qwen2.5-7b", 7'615'616'512},
      {"qwen3-0.6b", 596'049'920},
      {"qwen3-30b-a3b", 30'532'122'624},
      {"qwen3-8b", 8'190'735'360},
  };
  std::map<std::string, std::int64_t> counted;
  for (const std::string& name : catalog_names("models")) {
    counted[name] = parameter_count(load_model(name));
  }
  EXPECT_EQ(counted, published);
}

}  // namespace
}  // namespace meshplan::planner

#include "planner/catalog/catalog.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <map>

#include "common/file.h"
#include "planner/cluster/gpu_catalog.h"
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
  for (const char* kind : {"models", "clusters", "gpus", "networks"}) {
    EXPECT_EQ(catalog_names(kind), files_on_disk(kind));
    EXPECT_FALSE(catalog_names(kind).empty());
  }
}

TEST(Catalog, HoldsEveryFileByteForByte) {
  for (const std::string kind : {"models", "clusters", "gpus", "networks"}) {
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

TEST(Catalog, KnowsAnEntryInOtherCaseAndByItsFirstWords) {
  EXPECT_EQ(similar_catalog_name("models", "Llama-3.1-405B"), "llama-3.1-405b");
  EXPECT_EQ(similar_catalog_name("models", "Mistral-7B"), "mistral-7b-v0.1");
  EXPECT_EQ(load_model("Mixtral-8x7B").name, "mixtral-8x7b-v0.1");
  EXPECT_EQ(load_cluster("H200").device.name, load_cluster("h200-sxm").device.name);
  EXPECT_EQ(similar_catalog_name("clusters", "h100"), std::nullopt) << "there are two";
  EXPECT_EQ(similar_catalog_name("models", "llama-3.1-405"), std::nullopt) << "part of a word";
  EXPECT_EQ(similar_catalog_name("models", ""), std::nullopt);
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

/// The keys that hold numbers, or objects of them: what an entry's sources must tell of.
std::vector<std::string> figures(const common::Json& entry) {
  std::vector<std::string> keys;
  for (const auto& [key, value] : entry.items()) {
    const bool peak = key.ends_with("_peak_flops_per_s");
    if (key == "schema_version" || key == "sources" || peak) continue;
    if (key == "matmul") {
      keys.insert(keys.end(), {"matmul.ceiling", "matmul.half_flops"});
    } else if (value.is_number() || value.is_object()) {
      keys.push_back(key);
    }
  }
  return keys;
}

TEST(Catalog, EveryFigureOfAGpuOrNetworkHasItsSource) {
  for (const std::string kind : {"gpus", "networks"}) {
    for (const std::string& name : catalog_names(kind)) {
      const common::Json entry = common::parse_json(*catalog_text(kind, name), name);
      EXPECT_EQ(entry["name"], name);
      for (const std::string& figure : figures(entry)) {
        ASSERT_TRUE(entry["sources"].contains(figure)) << name << " " << figure;
        EXPECT_GE(entry["sources"][figure].get<std::string>().size(), 7u) << name << " " << figure;
      }
      if (kind == "gpus") {
        EXPECT_GT(entry["sources"]["peaks"].get<std::string>().size(), 20u) << name;
      }
    }
  }
}

TEST(Catalog, HasTheGpusAndNetworksThatMeasurementsName) {
  for (const char* gpu : {"a100-40gb-sxm", "a100-80gb-sxm", "h100-sxm", "h100-96gb-500w",
                          "h200-sxm", "b200-sxm", "gb200", "mi300x", "l40s", "rtx-4090"}) {
    EXPECT_EQ(load_gpu(gpu, "test").name, gpu);
    EXPECT_EQ(load_cluster(gpu).device, load_gpu(gpu, "test").device);
  }
  for (const char* network :
       {"efa-3200", "roce-1600", "roce-400-per-gpu", "ib-hdr-200-per-gpu", "ib-ndr-400-per-gpu"}) {
    EXPECT_EQ(load_network(network, "test").name, network);
  }
}

TEST(Catalog, KnowsAGpuByTheNameThatItsDriverGives) {
  EXPECT_EQ(gpu_of_driver("NVIDIA H100 80GB HBM3"), "h100-sxm");
  EXPECT_EQ(gpu_of_driver("NVIDIA A100-SXM4-40GB"), "a100-40gb-sxm");
  EXPECT_EQ(gpu_of_driver("NVIDIA A100-SXM4-80GB"), "a100-80gb-sxm");
  EXPECT_EQ(gpu_of_driver("NVIDIA H200"), "h200-sxm");
  EXPECT_EQ(gpu_of_driver("NVIDIA B200"), "b200-sxm");
  EXPECT_EQ(gpu_of_driver("NVIDIA GB200"), "gb200");
  EXPECT_EQ(gpu_of_driver("NVIDIA GeForce RTX 4090"), "rtx-4090");
  EXPECT_EQ(gpu_of_driver("NVIDIA T4"), std::nullopt);
}

TEST(Catalog, ModelsHaveTheirPublishedParameterCounts) {
  const std::map<std::string, std::int64_t> published = {
      {"demo-qwen2", 4'985'088},
      {"feed-forward-demo", 201'326'592},
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

#include "planner/model/parameter_table.h"

#include <gtest/gtest.h>

#include <cmath>
#include <map>
#include <set>

#include "tests/planner/model_configs.h"

namespace meshplan::planner {
namespace {

using common::Json;

/// A small config of the family.
ModelSpec small(const std::string& family) {
  return read(with(minimal(family), {{"num_key_value_heads", 2},
                                     {"num_experts", 6},
                                     {"num_local_experts", 6},
                                     {"n_routed_experts", 6},
                                     {"num_experts_per_tok", 2},
                                     {"rotary_dim", 8}}));
}

std::vector<std::string> all_families() {
  std::vector<std::string> names;
  for (int family = 0; family < static_cast<int>(ModelFamily::kOther); ++family)
    names.emplace_back(to_string(static_cast<ModelFamily>(family)));
  return names;
}

TEST(ParameterTable, CountsWhatIsPublished) {
  for (const common::JsonObject& model : published_models()) {
    EXPECT_EQ(parameter_count(read(model.at("config"))), model.integer("parameters"))
        << model.text("name");
  }
}

// Billions, as the models' pages and papers give them.
TEST(ParameterTable, CountsThePublishedActiveParametersOfMixtures) {
  const std::map<std::string, double> active = {{"mistralai/Mixtral-8x7B-v0.1", 12.9},
                                                {"mistralai/Mixtral-8x22B-v0.1", 39},
                                                {"Qwen/Qwen1.5-MoE-A2.7B", 2.7},
                                                {"Qwen/Qwen3-30B-A3B", 3.3},
                                                {"Qwen/Qwen3-235B-A22B", 22},
                                                {"databricks/dbrx-base", 36},
                                                {"allenai/OLMoE-1B-7B-0924", 1.3},
                                                {"microsoft/Phi-3.5-MoE-instruct", 6.6},
                                                {"deepseek-ai/deepseek-moe-16b-base", 2.8}};
  std::size_t checked = 0;
  for (const common::JsonObject& json : published_models()) {
    const ModelSpec model = read(json.at("config"));
    const double billions = static_cast<double>(active_parameter_count(model)) * 1e-9;
    const auto known = active.find(json.text("name"));
    if (model.moe.num_experts == 0) {
      EXPECT_EQ(active_parameter_count(model), parameter_count(model));
    } else {
      ASSERT_NE(known, active.end()) << json.text("name");
      // As many digits as are published.
      EXPECT_NEAR(billions, known->second, known->second >= 20 ? 0.5 : 0.06) << known->first;
      ++checked;
    }
  }
  EXPECT_EQ(checked, active.size());
}

TEST(ParameterTable, NamesEveryParameterOfAModelOnce) {
  for (const std::string& family : all_families()) {
    const ModelSpec model = small(family);
    std::set<std::string> names;
    std::int64_t elements = 0;
    for (std::int64_t unit = 0; unit < unit_count(model); ++unit) {
      for (const Parameter& parameter : parameters_of(model, unit_at(model, unit))) {
        EXPECT_TRUE(names.insert(parameter.name).second) << parameter.name;
        elements += element_count(parameter);
      }
    }
    EXPECT_EQ(elements, parameter_count(model)) << family;
  }
}

TEST(ParameterTable, SharesSplitParametersOutInFull) {
  for (const std::string& family : all_families()) {
    const ModelSpec model = small(family);
    for (std::int64_t unit = 0; unit < unit_count(model); ++unit) {
      for (const Parameter& parameter : parameters_of(model, unit_at(model, unit))) {
        std::int64_t local = 1;
        for (const std::int64_t size : local_shape(parameter, 2)) local *= size;
        const bool replicated = parameter.split == TpSplit::kReplicated;
        EXPECT_EQ((replicated ? 1 : 2) * local, element_count(parameter)) << parameter.name;
      }
    }
  }
}

TEST(ParameterTable, PutsExpertsWhereTheConfigHasThem) {
  const auto experts_of = [](const ModelSpec& model) {
    std::vector<std::int64_t> blocks;
    for (std::int64_t block = 0; block < model.num_hidden_layers; ++block) {
      if (is_moe_block(model, block)) blocks.push_back(block);
    }
    EXPECT_EQ(std::ssize(blocks), moe_block_count(model));
    return blocks;
  };
  using Blocks = std::vector<std::int64_t>;
  const Json six = with(minimal("qwen3_moe"), {{"num_hidden_layers", 6}});
  EXPECT_EQ(experts_of(read(six)), (Blocks{0, 1, 2, 3, 4, 5}));
  EXPECT_EQ(experts_of(read(with(six, {{"decoder_sparse_step", 2}}))), (Blocks{1, 3, 5}));
  EXPECT_EQ(experts_of(read(with(six, {{"mlp_only_layers", {5, 0, 5}}}))), (Blocks{1, 2, 3, 4}));
  EXPECT_EQ(experts_of(read(with(six, {{"num_experts", 0}}))), Blocks{});
  const Json glm = with(minimal("glm4_moe"), {{"num_hidden_layers", 4}});
  EXPECT_EQ(experts_of(read(with(glm, {{"first_k_dense_replace", 3}}))), Blocks{3});
  EXPECT_EQ(complaint(with(six, {{"mlp_only_layers", {6}}})),
            "config.json.mlp_only_layers: must be an array of blocks from 0 to 5");
}

}  // namespace
}  // namespace meshplan::planner

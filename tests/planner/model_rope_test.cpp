// Rotary positions and sliding windows of a Hugging Face config.json.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/planner/model_configs.h"

namespace meshplan::planner {
namespace {

using common::Json;
using testing::HasSubstr;

// ---- Rotary positions

TEST(ModelSpec, ReadsBothSpellingsOfRopeAlike) {
  const Json llama3 = {{"rope_type", "llama3"},
                       {"factor", 8.0},
                       {"low_freq_factor", 1.0},
                       {"high_freq_factor", 4.0},
                       {"original_max_position_embeddings", 8192}};
  const Json linear = {{"rope_type", "linear"}, {"factor", 2.0}};
  const Json plain = {{"rope_type", "default"}};
  for (const char* family : kFamilyNames) {
    for (const Json& scaling : {llama3, linear, plain}) {
      const ModelSpec v4 =
          read(with(minimal(family), {{"rope_theta", 500000.0}, {"rope_scaling", scaling}}));
      const ModelSpec v5 = read(
          with(minimal(family), {{"rope_parameters", with(scaling, {{"rope_theta", 500000.0}})}}));
      EXPECT_EQ(v4, v5) << family << scaling;
      EXPECT_EQ(v4.rope.theta, 500000.0);
    }
  }
  const RopeSpec expected{500000.0, RopeScaling::kLlama3, 8.0, 1.0, 4.0, 8192};
  EXPECT_EQ(read(with(minimal("llama"), {{"rope_theta", 500000}, {"rope_scaling", llama3}})).rope,
            expected);
}

TEST(ModelSpec, ReadsTheOldTypeKeyAndNullAndEmptyScalings) {
  const Json old = {{"rope_scaling", {{"type", "linear"}, {"factor", 4}}}};
  EXPECT_EQ(read(with(minimal("llama"), old)).rope,
            (RopeSpec{10000.0, RopeScaling::kLinear, 4.0, 1.0, 4.0, 0}));
  for (const Json& none : {Json(nullptr), Json::object()}) {
    const Json config = with(minimal("llama"), {{"rope_scaling", none}, {"rope_parameters", none}});
    EXPECT_EQ(read(config).rope, RopeSpec{});
  }
  const Json only_theta = {{"rope_parameters", {{"rope_theta", 7.0}}}};
  EXPECT_EQ(read(with(minimal("qwen3"), only_theta)).rope.theta, 7.0);
}

TEST(ModelSpec, TakesTheContextAsOriginalWhereLlama3RopeDoesNotSayIt) {
  const Json rope = {{"rope_type", "llama3"},
                     {"factor", 8.0},
                     {"low_freq_factor", 1.0},
                     {"high_freq_factor", 4.0}};
  EXPECT_EQ(read(with(minimal("llama"), {{"rope_scaling", rope}, {"max_position_embeddings", 99}}))
                .rope.original_max_position_embeddings,
            99);
}

TEST(ModelSpec, KeepsTheNameOfRopeTypesThatAreOnlyPlanned) {
  for (const char* type : {"dynamic", "yarn", "longrope", "mrope"}) {
    for (const char* key : {"rope_scaling", "rope_parameters"}) {
      const Json config = with(minimal("qwen2"), {{key, {{"rope_type", type}, {"factor", 2.0}}}});
      const ModelSpec model = read(config);
      EXPECT_EQ(model.rope.scaling, RopeScaling::kOther);
      EXPECT_EQ(model.rope.other_scaling, type);
      EXPECT_EQ(read(to_json(model)), model);
    }
  }
}

TEST(ModelSpec, RefusesUnknownRopeTypes) {
  for (const char* type : {"spiral", ""}) {
    for (const char* key : {"rope_scaling", "rope_parameters"}) {
      const Json config = with(minimal("qwen2"), {{key, {{"rope_type", type}, {"factor", 2.0}}}});
      EXPECT_EQ(complaint(config), std::string("config.json.") + key + ".rope_type: '" + type +
                                       "' is unknown; use default, linear, llama3, dynamic, yarn, "
                                       "longrope, su or mrope");
    }
  }
}

TEST(ModelSpec, ReadsTheRotatedPartOfEachSpelling) {
  EXPECT_EQ(read(minimal("gpt_neox")).rope.rotated_part, 0.25);
  EXPECT_EQ(read(with(minimal("gpt_neox"), {{"rotary_pct", 1.0}})).rope.rotated_part, 1.0);
  EXPECT_EQ(read(with(minimal("phi"), {{"partial_rotary_factor", 0.4}})).rope.rotated_part, 0.4);
  EXPECT_EQ(read(with(minimal("gptj"), {{"rotary_dim", 4}})).rope.rotated_part, 0.25);
  const Json v5 = {{"rope_parameters", {{"rope_theta", 1e6}, {"partial_rotary_factor", 0.5}}}};
  EXPECT_EQ(read(with(minimal("llama"), v5)).rope.rotated_part, 0.5);
}

TEST(ModelSpec, TakesTheRotationOfFullAttentionWhereWindowsHaveTheirOwn) {
  const Json both = {
      {"rope_parameters",
       {{"sliding_attention", {{"rope_theta", 1e4}}}, {"full_attention", {{"rope_theta", 2e6}}}}}};
  EXPECT_EQ(read(with(minimal("gemma3_text"), both)).rope.theta, 2e6);
}

TEST(ModelSpec, RefusesRopeParametersThatCannotBe) {
  const std::vector<std::pair<Json, std::string>> cases = {
      {{{"rope_scaling", {{"factor", 2.0}}}}, "rope_scaling.type: is missing"},
      {{{"rope_scaling", {{"type", "linear"}}}}, "rope_scaling.factor: is missing"},
      {{{"rope_scaling", {{"type", "linear"}, {"factor", 0.5}}}}, "rope_scaling.factor: must be"},
      {{{"rope_scaling", "linear"}}, "rope_scaling: must be an object"},
      {{{"rope_scaling", {{"type", "linear"}, {"factor", 2}}},
        {"rope_parameters", {{"rope_theta", 1e6}}}},
       "rope_scaling: is set beside rope_parameters"},
      {{{"rope_parameters", {{"full_attention", {{"rope_theta", 1e6}}}}}},
       "rope_parameters.full_attention: rotary parameters by layer type"},
      {{{"partial_rotary_factor", 1.5}},
       "partial_rotary_factor: must be a number from 0.001 to 1, is 1.5"},
      {{{"rope_theta", 0}}, "rope_theta: must be"},
      {{{"rope_scaling",
         {{"rope_type", "llama3"},
          {"factor", 8},
          {"low_freq_factor", 4},
          {"high_freq_factor", 4}}}},
       "high_freq_factor: 4 must be above low_freq_factor=4"},
      {{{"rope_scaling", {{"rope_type", "llama3"}, {"factor", 8}}}}, "low_freq_factor: is missing"},
  };
  for (const auto& [changes, message] : cases) {
    EXPECT_THAT(complaint(with(minimal("llama"), changes)), HasSubstr(message)) << changes;
  }
}

// ---- Sliding windows

TEST(ModelSpec, TakesTheWindowOfMistralUnlessItIsNull) {
  EXPECT_EQ(read(with(minimal("mistral"), {{"sliding_window", 512}})).sliding_window, 512);
  EXPECT_EQ(read(with(minimal("mistral"), {{"sliding_window", nullptr}})).sliding_window, 0);
  EXPECT_EQ(read(with(minimal("llama"), {{"sliding_window", 512}})).sliding_window, 0);
}

TEST(ModelSpec, TakesTheWindowOfQwenWhereAnyLayerUsesIt) {
  for (const char* family : {"qwen2", "qwen3"}) {
    const Json unused = with(minimal(family), {{"sliding_window", 512}, {"max_window_layers", 0}});
    EXPECT_EQ(read(unused).sliding_window, 0);
    const Json used = with(unused, {{"use_sliding_window", true}});
    EXPECT_EQ(read(used).sliding_window, 512);
    EXPECT_EQ(read(with(used, {{"sliding_window", nullptr}})).sliding_window, 0);
    EXPECT_EQ(read(with(used, {{"max_window_layers", 1}})).sliding_window, 512);
    EXPECT_EQ(read(with(used, {{"max_window_layers", 2}})).sliding_window, 0);
    const Json full = Json::array({"full_attention", "full_attention"});
    EXPECT_EQ(read(with(used, {{"layer_types", full}})).sliding_window, 0);
    const Json mixed = Json::array({"full_attention", "sliding_attention"});
    EXPECT_EQ(read(with(used, {{"layer_types", mixed}})).sliding_window, 512);
  }
}

TEST(ModelSpec, CountsTheBlocksThatAttendThroughTheWindow) {
  const auto counted = [](const Json& config) { return read(config).windowed_blocks; };
  EXPECT_EQ(counted(minimal("mistral")), 2);
  EXPECT_EQ(counted(with(minimal("gemma2"), {{"num_hidden_layers", 9}})), 5);
  EXPECT_EQ(counted(with(minimal("gemma3_text"), {{"num_hidden_layers", 26}})), 22);
  EXPECT_EQ(counted(with(minimal("cohere2"), {{"sliding_window_pattern", 2}})), 1);
  EXPECT_EQ(counted(with(minimal("exaone4"), {{"sliding_window", nullptr}})), 0);
  EXPECT_EQ(counted(with(minimal("exaone4"),
                         {{"num_hidden_layers", 8}, {"sliding_window_pattern", "LLLG"}})),
            6);
  const Json types = Json::array({"full_attention", "sliding_attention"});
  EXPECT_EQ(counted(with(minimal("olmo3"), {{"layer_types", types}})), 1);
  const Json local = Json::array({Json::array({Json::array({"global", "local"}), 1})});
  const Json neo = with(minimal("gpt_neo"), {{"attention_types", local}, {"window_size", 32}});
  EXPECT_EQ(counted(neo), 1);
  EXPECT_EQ(read(neo).sliding_window, 32);
  for (const Json& hostile : {Json(7), Json::array({7}), Json::array({Json::array({1, 2})}),
                              Json::array({Json::array({Json::array({"local"}), 1ll << 60})})}) {
    EXPECT_THAT(complaint(with(minimal("gpt_neo"), {{"attention_types", hostile}})),
                HasSubstr("config.json.attention_types: must be an array of"));
  }
}

TEST(ModelSpec, RefusesLayerTypesThatDoNotMatch) {
  const Json used = with(minimal("qwen3"), {{"use_sliding_window", true}});
  EXPECT_THAT(complaint(with(used, {{"layer_types", Json::array({"full_attention"})}})),
              HasSubstr("config.json.layer_types: must be an array of num_hidden_layers=2 names"));
  const Json linear = Json::array({"full_attention", "linear_attention"});
  EXPECT_THAT(complaint(with(used, {{"layer_types", linear}})), HasSubstr("\"linear_attention\""));
}

}  // namespace
}  // namespace meshplan::planner

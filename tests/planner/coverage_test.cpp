#include "planner/model/coverage.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/planner/model_configs.h"

namespace meshplan::planner {
namespace {

using common::Json;
using testing::AllOf;
using testing::HasSubstr;

std::string training_complaint(const Json& config) {
  try {
    require_trainable(read(config));
    return "";
  } catch (const common::Error& error) {
    EXPECT_EQ(error.code(), common::ErrorCode::kInvalidInput);
    return error.what();
  }
}

TEST(Coverage, TheExecutorTrainsTheFamiliesThatItSays) {
  for (const char* family : kFamilyNames) EXPECT_EQ(training_complaint(minimal(family)), "");
  EXPECT_EQ(training_complaint(minimal("granite")),
            "model: executor_trains_family: this model can be planned, but the executor has no "
            "layers for: family granite; it trains llama, mistral, qwen2, qwen3");
  EXPECT_THAT(training_complaint(minimal("gpt2")),
              AllOf(HasSubstr("layer norms, positions other than rotary, a feed-forward without "
                              "gate, a bias in the feed-forward, family gpt2"),
                    HasSubstr("activation 'gelu_new' (it has silu)")));
}

TEST(Coverage, TheExecutorRefusesWhatItDoesNotCompute) {
  const std::vector<std::pair<Json, std::string>> cases = {
      {{{"hidden_act", "gelu"}}, "activation 'gelu' (it has silu)"},
      {{{"mlp_bias", true}}, "a bias in the feed-forward"},
      {{{"attention_dropout", 0.1}}, "attention_dropout=0.1 (it has 0)"},
      {{{"partial_rotary_factor", 0.5}}, "partial_rotary_factor=0.5 (it has 1)"},
      {{{"rope_scaling", {{"rope_type", "yarn"}, {"factor", 2.0}}}},
       "rope type 'yarn' (it has default, linear and llama3)"},
  };
  for (const auto& [changes, message] : cases) {
    EXPECT_THAT(training_complaint(with(minimal("llama"), changes)), HasSubstr(message));
  }
}

TEST(Coverage, TheExecutorNamesAllThatItLacks) {
  EXPECT_THAT(training_complaint(with(minimal("mixtral"), {{"num_local_experts", 4}})),
              HasSubstr("this model can be planned, but the executor has no layers for: experts, "
                        "family mixtral; it trains llama"));
  EXPECT_THAT(training_complaint(minimal("olmo2")),
              HasSubstr("norms after attention and feed-forward, norms of queries and keys that "
                        "heads do not share, family olmo2"));
  EXPECT_THAT(training_complaint(minimal("gpt_neox")),
              HasSubstr("attention and feed-forward in parallel"));
}

/// The published models of every family; a description of one's own may go beyond.
TEST(Coverage, TheProgramCoversEveryImportedModel) {
  for (const common::JsonObject& model : published_models())
    EXPECT_THAT(beyond_program(read(model.at("config"))), testing::IsEmpty());
  ModelSpec own = read(minimal("llama"));
  own.parallel_residual = true;
  own.norm_placement = NormPlacement::kAfter;
  EXPECT_THAT(beyond_program(own),
              testing::ElementsAre("norms after attention and feed-forward that run in parallel"));
}

}  // namespace
}  // namespace meshplan::planner

#include "planner/model/model_spec.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>

#include "common/error.h"
#include "common/file.h"
#include "planner/model/parameter_table.h"
#include "tests/planner/model_configs.h"

namespace meshplan::planner {
namespace {

namespace fs = std::filesystem;
using common::Json;
using testing::AllOf;
using testing::HasSubstr;

std::string load_complaint(const std::string& model) {
  try {
    load_model(model);
    return "";
  } catch (const common::Error& error) {
    EXPECT_EQ(error.code(), common::ErrorCode::kInvalidInput);
    return error.what();
  }
}

/// A folder that goes away with the test.
class Folder {
 public:
  Folder() : path_(fs::path(testing::TempDir()) / ("meshplan_model_" + std::to_string(getpid()))) {
    fs::create_directories(path_);
  }
  ~Folder() { fs::remove_all(path_); }
  fs::path operator/(const std::string& name) const { return path_ / name; }

 private:
  fs::path path_;
};

// ---- Families and their defaults

TEST(ModelSpec, TakesTheDefaultsOfTransformersWhereTheConfigIsSilent) {
  const ModelSpec llama = read(minimal("llama"));
  EXPECT_EQ(llama.num_key_value_heads, 4);
  EXPECT_EQ(llama.head_dim, 16);
  EXPECT_EQ(llama.max_position_embeddings, 2048);
  EXPECT_EQ(llama.rms_norm_eps, 1e-6);
  EXPECT_EQ(llama.rope, RopeSpec{});
  EXPECT_EQ(llama.initializer_range, 0.02);
  EXPECT_FALSE(llama.tie_word_embeddings);
  EXPECT_FALSE(llama.qkv_bias || llama.attention_output_bias || llama.qk_norm);
  EXPECT_EQ(llama.sliding_window, 0);

  const ModelSpec mistral = read(with(minimal("mistral"), {{"num_attention_heads", 16}}));
  EXPECT_EQ(mistral.num_key_value_heads, 8);
  EXPECT_EQ(mistral.max_position_embeddings, 131072);
  EXPECT_EQ(mistral.sliding_window, 4096);

  const ModelSpec qwen2 =
      read(with(minimal("qwen2"), {{"num_attention_heads", 64}, {"hidden_size", 256}}));
  EXPECT_EQ(qwen2.num_key_value_heads, 32);
  EXPECT_EQ(qwen2.head_dim, 4);
  EXPECT_EQ(qwen2.max_position_embeddings, 32768);
  EXPECT_EQ(qwen2.sliding_window, 0);

  const ModelSpec qwen3 = read(minimal("qwen3"));
  EXPECT_EQ(qwen3.head_dim, 128);
  EXPECT_EQ(qwen3.max_position_embeddings, 32768);
}

TEST(ModelSpec, GivesEachHeadItsKeyAndValueWhereTheConfigHasNone) {
  for (const char* family : kFamilyNames) {
    EXPECT_EQ(read(minimal(family)).num_key_value_heads, 4) << family;
    const Json null =
        with(minimal(family),
             {{"num_key_value_heads", nullptr}, {"num_attention_heads", 32}, {"head_dim", 2}});
    EXPECT_EQ(read(null).num_key_value_heads, 32) << family;
  }
}

TEST(ModelSpec, DerivesHeadDimWhereItIsNull) {
  for (const char* family : kFamilyNames) {
    EXPECT_EQ(read(with(minimal(family), {{"head_dim", nullptr}})).head_dim, 16) << family;
    EXPECT_EQ(read(with(minimal(family), {{"head_dim", 32}})).head_dim, 32) << family;
  }
}

TEST(ModelSpec, PutsBiasesAndNormsWhereTheFamilyHasThem) {
  for (const char* family : kFamilyNames) {
    const ModelSpec model = read(with(minimal(family), {{"attention_bias", true}}));
    const bool chosen = model.family == ModelFamily::kLlama || model.family == ModelFamily::kQwen3;
    EXPECT_EQ(model.qkv_bias, chosen || model.family == ModelFamily::kQwen2) << family;
    EXPECT_EQ(model.attention_output_bias, chosen) << family;
    EXPECT_EQ(model.qk_norm, model.family == ModelFamily::kQwen3) << family;
    EXPECT_STREQ(to_string(model.family), family);
  }
  EXPECT_TRUE(read(minimal("qwen2")).qkv_bias);
  EXPECT_FALSE(read(minimal("qwen3")).qkv_bias);
}

TEST(ModelSpec, IgnoresKeysThatDoNotShapeTheComputation) {
  const Json extra = {{"transformers_version", "5.23.0"},
                      {"use_cache", 3},
                      {"pad_token_id", nullptr},
                      {"quantization", {{"bits", 4}}}};
  EXPECT_EQ(read(with(minimal("llama"), extra)), read(minimal("llama")));
}

// ---- Refusals

TEST(ModelSpec, NamesEveryMissingRequiredField) {
  for (const char* family : kFamilyNames) {
    for (const char* field : {"hidden_size", "intermediate_size", "num_hidden_layers",
                              "num_attention_heads", "vocab_size"}) {
      Json config = minimal(family);
      config.erase(field);
      EXPECT_THAT(complaint(config), HasSubstr(std::string("config.json.") + field +
                                               ": is missing; it must be an integer from 1"));
    }
  }
}

TEST(ModelSpec, RefusesEveryFieldOfAnotherType) {
  for (const char* field :
       {"hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads",
        "vocab_size", "num_key_value_heads", "head_dim", "max_position_embeddings", "rms_norm_eps",
        "rope_theta", "rope_scaling", "rope_parameters", "tie_word_embeddings", "attention_bias",
        "initializer_range", "hidden_act", "mlp_bias", "attention_dropout", "model_type"}) {
    const Json config = with(minimal("llama"), {{field, Json::array({"64"})}});
    EXPECT_THAT(complaint(config), HasSubstr(std::string("config.json.") + field + ": must be"));
  }
  EXPECT_THAT(complaint(with(minimal("llama"), {{"hidden_size", 64.0}})), HasSubstr("hidden_size"));
  EXPECT_THAT(complaint(with(minimal("llama"), {{"hidden_size", "64"}})), HasSubstr("hidden_size"));
  EXPECT_THAT(complaint(Json::array()), HasSubstr("config.json: must be a JSON object"));
}

TEST(ModelSpec, RefusesSizesOutOfBounds) {
  for (const char* field :
       {"hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads",
        "vocab_size", "num_key_value_heads", "head_dim", "max_position_embeddings"}) {
    for (const Json& size :
         {Json(0), Json(-4), Json((std::int64_t{1} << 31) + 2), Json(1ull << 63)}) {
      EXPECT_THAT(complaint(with(minimal("llama"), {{field, size}})),
                  HasSubstr(std::string("config.json.") + field + ": must be an integer from 1 to"))
          << size;
    }
  }
  EXPECT_EQ(complaint(with(minimal("llama"), {{"num_hidden_layers", 100001}})),
            "config.json.num_hidden_layers: must be an integer from 1 to 100000, is 100001");
}

TEST(ModelSpec, RefusesUnknownFamiliesWithTheFieldsThatAreMissing) {
  Json config = minimal("mamba");
  EXPECT_THAT(
      complaint(config),
      AllOf(
          HasSubstr("config.json.model_type: unknown family 'mamba'; use arcee, baichuan, bloom,"),
          HasSubstr("vaultgemma, or describe the architecture under \"meshplan\""),
          HasSubstr("missing for that: meshplan")));
  config.erase("num_attention_heads");
  config.erase("vocab_size");
  EXPECT_THAT(complaint(config),
              HasSubstr("missing for that: num_attention_heads, vocab_size, meshplan"));
  config.erase("model_type");
  EXPECT_THAT(complaint(config), HasSubstr("config.json.model_type: is missing; use arcee"));
  EXPECT_THAT(complaint({{"model_type", "gemma3"}, {"text_config", Json::object()}}),
              HasSubstr("or save its text_config as a config.json of its own"));
}

TEST(ModelSpec, ReadsAnArchitectureThatDescribesItself) {
  const Json traits = {
      {"norm", "layer"},
      {"norm_bias", true},
      {"positions", "learned"},
      {"gated_feed_forward", false},
      {"experts", {{"num_experts", 4}, {"experts_per_token", 2}, {"intermediate_size", 32}}}};
  const ModelSpec model =
      read(with(minimal("mine"), {{"meshplan", traits}, {"max_position_embeddings", 100}}));
  EXPECT_EQ(model.family, ModelFamily::kOther);
  EXPECT_EQ(model.norm, NormKind::kLayer);
  EXPECT_EQ(model.positions, Positions::kLearned);
  EXPECT_FALSE(model.gated_feed_forward);
  EXPECT_EQ(model.moe.num_experts, 4);
  EXPECT_EQ(parameter_count(model), 256 * 64 + 100 * 64 +
                                        2 * (4 * 64 * 64 + 4 * 64 + 4 * 64 + 4 * 2 * 64 * 32) +
                                        2 * 64 + 256 * 64);
  EXPECT_EQ(read(to_json(model)), model);
  EXPECT_EQ(complaint(with(minimal("mine"), {{"meshplan", {{"norm", "batch"}}}})),
            "config.json.meshplan.norm: 'batch' is unknown; use rms, layer");
  EXPECT_THAT(complaint(with(minimal("mine"), {{"meshplan", {{"normal", true}}}})),
              HasSubstr("config.json.meshplan.normal: unknown key"));
}

TEST(ModelSpec, RefusesBlocksThatTheProgramHasNoOperationsFor) {
  const Json latent = with(minimal("deepseek_v3"), {{"kv_lora_rank", 512}});
  EXPECT_THAT(complaint(latent),
              AllOf(HasSubstr("unknown family 'deepseek_v3'; use arcee"),
                    HasSubstr("missing for that: meshplan"),
                    HasSubstr("kv_lora_rank: latent keys and values are not planned")));
  EXPECT_EQ(complaint(with(latent, {{"meshplan", Json::object()}})),
            "config.json.kv_lora_rank: latent keys and values are not planned");
}

TEST(ModelSpec, ReadsTheConfigsOfArchitecturesWithCodeOfTheirOwn) {
  const Json qwen = with(minimal("qwen"), {{"kv_channels", 24}, {"seq_length", 512}});
  EXPECT_EQ(read(qwen).intermediate_size, 64) << "128 counts gate and up";
  EXPECT_EQ(read(qwen).head_dim, 24);
  EXPECT_EQ(read(to_json(read(qwen))), read(qwen));
  EXPECT_THAT(complaint(with(qwen, {{"intermediate_size", 127}})),
              HasSubstr("intermediate_size: 127 must be even"));
  const Json baichuan = minimal("baichuan");
  EXPECT_EQ(read(baichuan).positions, Positions::kRotary);
  EXPECT_EQ(read(with(baichuan, {{"model_max_length", 512}})).positions, Positions::kAlibi);
  const Json chatglm = with(minimal("chatglm"), {{"padded_vocab_size", 300},
                                                 {"vocab_size", nullptr},
                                                 {"multi_query_attention", true},
                                                 {"multi_query_group_num", 2},
                                                 {"add_qkv_bias", true}});
  EXPECT_EQ(read(chatglm).vocab_size, 300);
  EXPECT_EQ(read(chatglm).num_key_value_heads, 2);
  EXPECT_TRUE(read(chatglm).qkv_bias);
  EXPECT_FALSE(read(chatglm).feed_forward_bias);
}

TEST(ModelSpec, NamesAllThatIsWrongAtOnce) {
  const Json config = {{"model_type", "qwen3_moe"},
                       {"hidden_size", 0},
                       {"intermediate_size", "wide"},
                       {"num_hidden_layers", 1'000'000},
                       {"num_attention_heads", 8},
                       {"num_key_value_heads", 3},
                       {"head_dim", 7},
                       {"vocab_size", -1},
                       {"num_experts", 4},
                       {"num_experts_per_tok", 9},
                       {"hidden_act", "sine"},
                       {"tie_word_embeddings", "yes"}};
  EXPECT_THAT(
      complaint(config),
      AllOf(HasSubstr("config.json: 9 things are wrong"),
            HasSubstr("config.json.hidden_size: must be an integer from 1 to 2147483648, is 0"),
            HasSubstr("config.json.intermediate_size: must be an integer from 1 to 2147483648, is "
                      "\"wide\""),
            HasSubstr("config.json.num_hidden_layers: must be an integer from 1 to 100000, is "
                      "1000000"),
            HasSubstr("config.json.vocab_size: must be an integer from 1 to 2147483648, is -1"),
            HasSubstr("config.json.num_key_value_heads: 3 must divide num_attention_heads=8; use "
                      "1, 2, 4 or 8"),
            HasSubstr("config.json.head_dim: 7 must be even"),
            HasSubstr("config.json.num_experts_per_tok: 9 must be at most the number of experts, "
                      "4"),
            HasSubstr("config.json.hidden_act: 'sine' is unknown; use gelu, "),
            HasSubstr("config.json.tie_word_embeddings: must be true or false, is \"yes\"")));
}

TEST(ModelSpec, RefusesHeadsThatCannotBe) {
  EXPECT_THAT(complaint(with(minimal("llama"), {{"num_attention_heads", 5}})),
              HasSubstr("config.json.head_dim: is not set, and num_attention_heads=5 does not "
                        "divide hidden_size=64; set head_dim"));
  EXPECT_THAT(complaint(with(minimal("llama"), {{"head_dim", 15}})),
              HasSubstr("config.json.head_dim: 15 must be even"));
  EXPECT_EQ(complaint(with(minimal("llama"), {{"num_key_value_heads", 3}})),
            "config.json.num_key_value_heads: 3 must divide num_attention_heads=4; use 1, 2 or 4");
}

// ---- Hostile configs

RC_GTEST_PROP(ModelSpec, AnyChangeOfAConfigIsReadOrRefusedAsInvalidInput, ()) {
  const std::vector<common::JsonObject> models = published_models();
  Json config = models[*rc::gen::inRange<std::size_t>(0, models.size())].at("config");
  const auto sometimes = [&config](const char* key, const Json& value) {
    if (*rc::gen::inRange(0, 4) == 0) config[key] = value;
  };
  sometimes("rope_scaling", {{"rope_type", "yarn"}, {"factor", 2}});
  sometimes("layer_types", nullptr);
  sometimes("meshplan", {{"norm", "layer"}, {"positions", "learned"}});
  const std::vector<Json> values = {nullptr,
                                    true,
                                    -1,
                                    0,
                                    1,
                                    3,
                                    1e300,
                                    0.5,
                                    "",
                                    "yarn",
                                    Json::array(),
                                    Json::object(),
                                    std::int64_t{1} << 62,
                                    Json{{"rope_type", "linear"}},
                                    Json{{"kv_n_heads", 3}},
                                    Json{{"experts", {{"num_experts", 7}}}},
                                    Json::array({Json::array({Json::array({"local"}), 3})}),
                                    Json::array({0, 2, 1ll << 40}),
                                    Json::array({"full_attention"})};
  for (int i = 0; i < 3; ++i) {
    auto field = config.begin();
    std::advance(field, *rc::gen::inRange<std::ptrdiff_t>(0, std::ssize(config)));
    field.value() = *rc::gen::elementOf(values);
  }
  try {
    const ModelSpec model = read(config);
    RC_ASSERT(read(to_json(model)) == model);
    RC_ASSERT(active_parameter_count(model) <= parameter_count(model));
  } catch (const common::Error& error) {
    RC_ASSERT(error.code() == common::ErrorCode::kInvalidInput);
    // Counts of a model that was read may still not fit.
    RC_ASSERT(error.where().starts_with("config.json") ||
              std::string(error.what()).find("does not fit 63 bits") != std::string::npos);
  }
}

// ---- Reading back

RopeSpec any_rope() {
  RopeSpec rope;
  rope.theta = 1.0 + *rc::gen::inRange<int>(0, 1 << 30) / 7.0;
  rope.scaling = *rc::gen::element(RopeScaling::kNone, RopeScaling::kLinear, RopeScaling::kLlama3);
  if (rope.scaling == RopeScaling::kNone) return rope;
  rope.factor = 1.0 + *rc::gen::inRange<int>(0, 1000) / 3.0;
  if (rope.scaling == RopeScaling::kLinear) return rope;
  rope.low_freq_factor = *rc::gen::inRange<int>(1, 1000) / 3.0;
  rope.high_freq_factor = rope.low_freq_factor + *rc::gen::inRange<int>(1, 1000) / 7.0;
  rope.original_max_position_embeddings = *rc::gen::inRange<std::int64_t>(1, std::int64_t{1} << 31);
  return rope;
}

ModelTraits any_traits() {
  const auto flag = [] { return *rc::gen::arbitrary<bool>(); };
  const auto choice = [](int n) { return *rc::gen::inRange<int>(0, n); };
  return {.norm = static_cast<NormKind>(choice(2)),
          .norm_weight = flag(),
          .norm_bias = flag(),
          .norm_placement = static_cast<NormPlacement>(choice(3)),
          .final_norm = flag(),
          .embedding_norm = flag(),
          .positions = static_cast<Positions>(choice(3)),
          .gated_feed_forward = flag(),
          .feed_forward_bias = flag(),
          .qkv_bias = flag(),
          .attention_output_bias = flag(),
          .output_head_bias = flag(),
          .qk_norm = flag(),
          .qk_norm_shape = static_cast<QkNormShape>(choice(3)),
          .parallel_residual = flag(),
          .shared_norm = flag(),
          .shared_expert_gate = flag()};
}

MoeSpec any_experts(std::int64_t blocks) {
  if (*rc::gen::arbitrary<bool>()) return {};
  MoeSpec moe;
  moe.num_experts = *rc::gen::inRange<std::int64_t>(1, 4097);
  moe.experts_per_token = *rc::gen::inRange<std::int64_t>(1, moe.num_experts + 1);
  moe.intermediate_size = *rc::gen::inRange<std::int64_t>(1, 100'000);
  moe.shared_intermediate_size = *rc::gen::inRange<std::int64_t>(0, 100'000);
  moe.first_dense_blocks = *rc::gen::inRange<std::int64_t>(0, 5);
  moe.sparse_step = *rc::gen::inRange<std::int64_t>(1, 5);
  for (std::int64_t block = 0; block < std::min<std::int64_t>(blocks, 9); block += 3)
    moe.dense_blocks.push_back(block);
  return moe;
}

/// A spec as read_model_config can give one.
ModelSpec any_model() {
  const auto size = [] { return *rc::gen::inRange<std::int64_t>(1, (std::int64_t{1} << 31) + 1); };
  ModelSpec model;
  model.name = *rc::gen::container<std::string>(rc::gen::inRange<char>(' ', '~'));
  model.family = static_cast<ModelFamily>(
      *rc::gen::inRange<int>(0, static_cast<int>(ModelFamily::kOther) + 1));
  model.hidden_size = size();
  model.intermediate_size = size();
  model.num_hidden_layers = *rc::gen::inRange<std::int64_t>(1, 100'001);
  model.num_key_value_heads = *rc::gen::inRange<std::int64_t>(1, 1000);
  model.num_attention_heads = model.num_key_value_heads * *rc::gen::inRange<std::int64_t>(1, 1000);
  model.head_dim = 2 * *rc::gen::inRange<std::int64_t>(1, 1000);
  model.vocab_size = size();
  model.max_position_embeddings = size();
  if (*rc::gen::arbitrary<bool>()) {
    model.sliding_window = size();
    model.windowed_blocks = *rc::gen::inRange<std::int64_t>(1, model.num_hidden_layers + 1);
  }
  model.rms_norm_eps = *rc::gen::inRange<int>(0, 1000) / 1e7;
  static_cast<ModelTraits&>(model) = any_traits();
  if (model.positions == Positions::kRotary) model.rope = any_rope();
  model.moe = any_experts(model.num_hidden_layers);
  model.activation = *rc::gen::element<std::string>("silu", "gelu_new", "relu2");
  model.embedding_size = *rc::gen::element<std::int64_t>(0, 0, 48);
  model.tie_word_embeddings = *rc::gen::arbitrary<bool>();
  model.initializer_range = *rc::gen::inRange<int>(0, 1000) / 3e4;
  return model;
}

RC_GTEST_PROP(ModelSpec, IsReadBackIdentically, ()) {
  const ModelSpec model = any_model();
  const std::string text = to_json(model).dump();
  const ModelSpec again = read(common::parse_json(text, "text"));
  RC_ASSERT(again == model);
  RC_ASSERT(to_json(again).dump() == text);
}

// ---- Finding the model

TEST(ModelSpec, LoadsAFolderOrItsConfigUnderTheFoldersName) {
  const Folder folder;
  fs::create_directories(folder / "tiny-llama");
  common::write_file(folder / "tiny-llama/config.json",
                     with(minimal("llama"), {{"_name_or_path", "elsewhere"}}).dump());
  ModelSpec expected = read(minimal("llama"));
  expected.name = "tiny-llama";
  for (const char* path :
       {"tiny-llama", "tiny-llama/", "tiny-llama/config.json", "tiny-llama/../tiny-llama/."}) {
    EXPECT_EQ(load_model((folder / path).string()), expected) << path;
  }
}

TEST(ModelSpec, NamesTheFileAndFieldOfABadConfig) {
  const Folder folder;
  const std::string path = (folder / "config.json").string();
  common::write_file(path, R"({"model_type": "llama", "hidden_size": "big"})");
  EXPECT_THAT(load_complaint(path), HasSubstr(path + ".hidden_size: must be an integer"));
  common::write_file(path, R"({"model_type": "llama",)");
  EXPECT_THAT(load_complaint(path), HasSubstr(path + ": not valid JSON"));
}

TEST(ModelSpec, SaysWhatTheCatalogHasWhenItFindsNoModel) {
  const Folder folder;
  fs::create_directories(folder / "empty");
  ASSERT_EQ(mkfifo((folder / "pipe").c_str(), 0600), 0);
  for (const std::string& name : {std::string("llama-9"), std::string(), std::string(9000, 'x'),
                                  (folder / "empty").string(), (folder / "pipe").string()}) {
    EXPECT_THAT(load_complaint(name),
                HasSubstr("the catalog has demo-qwen2, feed-forward-demo, gpt-3-175b"))
        << name;
  }
}

}  // namespace
}  // namespace meshplan::planner

#pragma once

#include <gtest/gtest.h>

#include <array>
#include <filesystem>
#include <string>
#include <vector>

#include "common/error.h"
#include "common/json.h"
#include "planner/model/model_spec.h"

namespace meshplan::planner {

inline constexpr std::array kFamilyNames = {"llama", "mistral", "qwen2", "qwen3"};

/// The smallest config of a family: required fields alone.
inline common::Json minimal(const std::string& family) {
  return common::Json{{"model_type", family},     {"hidden_size", 64},
                      {"intermediate_size", 128}, {"num_hidden_layers", 2},
                      {"num_attention_heads", 4}, {"vocab_size", 256}};
}

inline common::Json with(common::Json config, const common::Json& changes) {
  config.update(changes);
  return config;
}

inline ModelSpec read(const common::Json& config) {
  return read_model_config(config, "config.json");
}

/// The models of published_models.json, which test_parameters.py compares name by name.
inline std::vector<common::JsonObject> published_models() {
  static const common::Json file = common::read_json_file(
      std::filesystem::path(MESHPLAN_SOURCE_DIR) / "tests/planner/published_models.json");
  return common::JsonObject(file, "published_models.json").objects("models");
}

/// What read_model_config says about the config; empty when it reads.
inline std::string complaint(const common::Json& config) {
  try {
    read(config);
    return "";
  } catch (const common::Error& error) {
    EXPECT_EQ(error.code(), common::ErrorCode::kInvalidInput);
    return error.what();
  }
}

}  // namespace meshplan::planner

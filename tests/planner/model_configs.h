#pragma once

#include <gtest/gtest.h>

#include <array>
#include <string>

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

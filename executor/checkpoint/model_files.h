#pragma once

#include <filesystem>
#include <string>

#include "common/data_type.h"
#include "planner/model/model_spec.h"

namespace meshplan::executor {

/// Makes `folder` a Hugging Face model folder but for its weights: config.json, with the type of
/// the weights, and the tokenizer and generation files that lie beside the model's own. `source` is
/// a folder, a config.json or a catalog name. Throws kIo.
void write_model_files(const planner::ModelSpec& model, const std::string& source,
                       common::DataType weights, const std::filesystem::path& folder);

}  // namespace meshplan::executor

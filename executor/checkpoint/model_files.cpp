#include "executor/checkpoint/model_files.h"

#include <algorithm>
#include <array>
#include <string_view>
#include <system_error>

#include "common/error.h"
#include "common/file.h"
#include "common/json.h"
#include "formats/checkpoint_manifest.h"
#include "formats/checkpoint_metadata.h"
#include "planner/catalog/catalog.h"

namespace meshplan::executor {
namespace {

namespace fs = std::filesystem;
using common::Json;

constexpr const char* kConfigName = "config.json";
/// A tokenizer takes tens of megabytes; what is larger belongs to weights.
constexpr common::Bytes kLargestFile{256ll << 20};
constexpr std::array<std::string_view, 5> kCopiedExtensions = {".json", ".txt", ".model", ".jinja",
                                                               ".tiktoken"};
constexpr std::array<std::string_view, 3> kNotCopied = {kConfigName, formats::kManifestName,
                                                        formats::kMetadataName};

/// The model's own config.json where it has one, with what this program does not know.
Json config_of(const planner::ModelSpec& model, const std::string& source) {
  if (const auto text = planner::catalog_text("models", source))
    return common::parse_json(*text, source);
  std::error_code ignored;
  for (const fs::path& path : {fs::path(source) / kConfigName, fs::path(source)}) {
    if (fs::is_regular_file(path, ignored)) return common::read_json_file(path);
  }
  return to_json(model);
}

bool is_copied(const fs::directory_entry& entry) {
  const std::string name = entry.path().filename().string();
  const std::string extension = entry.path().extension().string();
  std::error_code failure;
  return std::ranges::count(kCopiedExtensions, extension) > 0 &&
         std::ranges::count(kNotCopied, name) == 0 && !name.ends_with(".index.json") &&
         entry.is_regular_file(failure) &&
         static_cast<std::int64_t>(entry.file_size(failure)) <= kLargestFile.value && !failure;
}

}  // namespace

void write_model_files(const planner::ModelSpec& model, const std::string& source,
                       common::DataType weights, const fs::path& folder) {
  Json config = config_of(model, source);
  // Transformers 5 writes "dtype", and reads both.
  config.erase("dtype");
  config["torch_dtype"] = common::to_string(weights);
  common::write_file(folder / kConfigName, config.dump(2) + "\n");
  std::error_code failure;
  if (!fs::is_directory(source, failure)) return;
  for (const fs::directory_entry& entry : fs::directory_iterator(source, failure)) {
    if (is_copied(entry)) {
      common::write_file(folder / entry.path().filename(),
                         common::read_file(entry.path(), kLargestFile));
    }
  }
}

}  // namespace meshplan::executor

#include "formats/safetensors_folder.h"

#include <fmt/format.h>

#include <algorithm>
#include <string_view>
#include <system_error>
#include <utility>

#include "common/error.h"
#include "common/file.h"
#include "formats/json_events.h"

namespace meshplan::formats {
namespace {

using common::Error;
using common::ErrorCode;
using common::Json;

constexpr const char* kIndexName = "model.safetensors.index.json";
constexpr common::Bytes kMaxIndexBytes{256ll << 20};

/// Takes "weight_map": {tensor: file} out of an index and passes over everything else.
class WeightMapReader final : public JsonEvents {
 public:
  explicit WeightMapReader(const std::string& index) : index_(index) {}

  void open_object(int depth) override {
    if (depth == 2 && in_map_) fail(tensor_ + " must be a file name");
    if (depth == 1) found_ = found_ || in_map_;
  }
  void open_array(int depth) override {
    if (depth == 0) fail("must be a JSON object");
    if (depth == 1 && in_map_) fail("must be an object");
    if (depth == 2 && in_map_) fail(tensor_ + " must be a file name");
  }
  void close(int) override {}
  void key(int depth, const std::string& name) override {
    if (depth == 1) {
      in_map_ = name == "weight_map";
      if (in_map_ && found_) fail("comes twice");
    }
    if (depth == 2) tensor_ = name;
  }
  void scalar(int depth, Json value) override {
    if (depth == 0) fail("must be a JSON object");
    if (depth == 1 && in_map_) fail("must be an object");
    if (depth != 2 || !in_map_) return;
    if (!value.is_string()) fail(tensor_ + " must be a file name");
    if (!map_.emplace(tensor_, value.get<std::string>()).second) fail(tensor_ + " comes twice");
  }

  std::map<std::string, std::string> finish() {
    if (!found_) fail("is missing");
    return std::move(map_);
  }

 private:
  [[noreturn]] void fail(const std::string& problem) const {
    throw Error(ErrorCode::kInvalidInput, fmt::format("weight_map: {:.200}", problem), index_);
  }

  const std::string& index_;
  bool in_map_ = false;
  bool found_ = false;
  std::string tensor_;
  std::map<std::string, std::string> map_;
};

bool is_plain_name(const std::string& name) {
  constexpr std::string_view kSuffix = ".safetensors";
  return name.size() > kSuffix.size() && name.ends_with(kSuffix) &&
         std::none_of(name.begin(), name.end(),
                      [](char c) { return c == '/' || c == '\\' || c == '\0'; });
}

}  // namespace

SafetensorsFolder::SafetensorsFolder(std::filesystem::path folder) : folder_(std::move(folder)) {
  std::error_code ignored;
  if (!std::filesystem::is_directory(folder_, ignored)) {
    throw Error(ErrorCode::kInvalidInput,
                "is not a folder; name the folder of a Hugging Face model, with its config.json "
                "and *.safetensors files",
                folder_.string());
  }
  const std::filesystem::path index = folder_ / kIndexName;
  if (std::filesystem::exists(index, ignored)) {
    open_indexed(index);
  } else {
    open_all();
  }
}

TensorLocation SafetensorsFolder::locate(const std::string& name) const {
  const auto found = tensors_.find(name);
  if (found == tensors_.end()) {
    throw Error(ErrorCode::kInvalidInput,
                fmt::format("none of its {} safetensors files holds the tensor '{}'; the weights "
                            "must be those of its config.json",
                            files_.size(), name),
                folder_.string());
  }
  return found->second;
}

void SafetensorsFolder::open_indexed(const std::filesystem::path& index) {
  const std::string where = index.string();
  WeightMapReader reader(where);
  read_json_events(common::read_file(index, kMaxIndexBytes), where, reader);
  for (const auto& [tensor, name] : reader.finish()) {
    if (!is_plain_name(name)) {
      throw Error(ErrorCode::kInvalidInput,
                  fmt::format("weight_map: '{:.200}' is not the plain name of a *.safetensors file "
                              "in this folder",
                              name),
                  where);
    }
    auto file = files_.find(name);
    if (file == files_.end()) {
      std::error_code ignored;
      if (!std::filesystem::exists(folder_ / name, ignored)) {
        throw Error(
            ErrorCode::kInvalidInput,
            fmt::format("is missing, although {} names it; copy or download it", kIndexName),
            (folder_ / name).string());
      }
      file = files_.emplace(name, SafetensorsFile(folder_ / name)).first;
    }
    const SafetensorsEntry* entry = file->second.find(tensor);
    if (entry == nullptr) {
      throw Error(ErrorCode::kInvalidInput,
                  fmt::format("weight_map: {} does not hold the tensor '{:.200}'; index and files "
                              "are not of one model",
                              name, tensor),
                  where);
    }
    tensors_.emplace(tensor, TensorLocation{&file->second, entry});
  }
}

void SafetensorsFolder::open_all() {
  std::error_code failure;
  const std::filesystem::directory_iterator items(folder_, failure);
  if (failure) {
    throw Error(ErrorCode::kIo, "cannot list: " + failure.message(), folder_.string());
  }
  for (const auto& item : items) {
    const std::string name = item.path().filename().string();
    if (is_plain_name(name)) files_.emplace(name, SafetensorsFile(item.path()));
  }
  if (files_.empty()) {
    throw Error(ErrorCode::kInvalidInput,
                "holds no *.safetensors file; download the model's weights into it, or save them "
                "with save_pretrained(folder, safe_serialization=True)",
                folder_.string());
  }
  for (const auto& [name, file] : files_) {
    for (const auto& [tensor, entry] : file.entries()) {
      const auto [known, is_new] = tensors_.emplace(tensor, TensorLocation{&file, &entry});
      if (!is_new) {
        throw Error(ErrorCode::kInvalidInput,
                    fmt::format("the tensor '{:.200}' is in {} and in {}; keep the files of one "
                                "checkpoint only",
                                tensor, known->second.file->path().filename().string(), name),
                    folder_.string());
      }
    }
  }
}

}  // namespace meshplan::formats

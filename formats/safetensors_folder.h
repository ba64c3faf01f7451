#pragma once

#include <filesystem>
#include <map>
#include <string>
#include <vector>

#include "formats/safetensors.h"

namespace meshplan::formats {

struct TensorLocation {
  const SafetensorsFile* file = nullptr;
  const SafetensorsEntry* entry = nullptr;
};

/// The weights of a Hugging Face model folder: the files that model.safetensors.index.json names
/// or, without it, all
/// *.safetensors. Every header is read and checked on opening, no data.
class SafetensorsFolder {
 public:
  /// Throws kInvalidInput where the folder, its safetensors files, or a file or tensor that the
  /// index names are missing, where the index names a path outside the folder, and where two files
  /// hold a tensor of one name.
  explicit SafetensorsFolder(std::filesystem::path folder);
  SafetensorsFolder(SafetensorsFolder&&) = default;
  SafetensorsFolder& operator=(SafetensorsFolder&&) = default;

  const std::filesystem::path& path() const { return folder_; }
  /// Every tensor by name. The locations live as long as the folder.
  const std::map<std::string, TensorLocation>& tensors() const { return tensors_; }

  /// Throws kInvalidInput, naming the folder, where it has no such tensor.
  TensorLocation locate(const std::string& name) const;

 private:
  void open_indexed(const std::filesystem::path& index);
  void open_all();

  std::filesystem::path folder_;
  std::map<std::string, SafetensorsFile> files_;
  std::map<std::string, TensorLocation> tensors_;
};

}  // namespace meshplan::formats

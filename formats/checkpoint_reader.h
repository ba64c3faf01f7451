#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "formats/checkpoint_manifest.h"
#include "formats/checkpoint_metadata.h"
#include "formats/safetensors.h"

namespace meshplan::formats {

/// A finished checkpoint, open for reading. Nothing of it is believed before its checksum was
/// compared. Every function throws kCorruptCheckpoint, naming the file, where the checkpoint is not
/// what its manifest says, and kIo where it cannot be read.
class CheckpointReader {
 public:
  /// Reads the manifest, compares the size of every file, and reads and checks the headers.
  explicit CheckpointReader(std::filesystem::path step_folder);

  const std::filesystem::path& path() const { return folder_; }
  const CheckpointManifest& manifest() const { return manifest_; }

  /// The tensor; null where the checkpoint has none of that name in that part.
  const CheckpointTensor* find(CheckpointPart part, const std::string& name) const;

  /// metadata.json, checked.
  CheckpointMetadata metadata() const;

  /// Reads and checks the files that are no tensors: configuration, tokenizer, metadata.
  void check_plain_files() const;

  /// Reads a range of the tensor, of range.elements() numbers, checking each piece that it touches.
  void read(const CheckpointTensor& tensor, const TensorRange& range, std::span<float> out) const;

  /// Reads and checks every piece of the tensor.
  void check(const CheckpointTensor& tensor) const;

 private:
  void open_files();
  const SafetensorsFile& file_of(const CheckpointTensor& tensor, const HashedRange& range) const;
  /// The bytes of one piece of a range.
  void read_piece(const CheckpointTensor& tensor, const HashedRange& range, std::size_t index,
                  const TensorRange& piece, std::vector<std::byte>& bytes) const;

  std::filesystem::path folder_;
  CheckpointManifest manifest_;
  std::map<std::string, SafetensorsFile> files_;
  std::map<std::pair<CheckpointPart, std::string>, const CheckpointTensor*> tensors_;
};

/// Reads a checkpoint to its last byte.
void verify_checkpoint(const std::filesystem::path& step_folder);

}  // namespace meshplan::formats

#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "common/units.h"
#include "formats/checksum.h"
#include "formats/safetensors_header.h"
#include "formats/tensor_range.h"

namespace meshplan::formats {

/// What a checkpoint holds of every parameter. kMaster, the float32 parameters, is there only where
/// kWeights has another type.
enum class CheckpointPart { kWeights, kMaster, kFirstMoment, kSecondMoment };

/// "weights", "master", "first_moment" or "second_moment".
const char* to_string(CheckpointPart part);
/// The part's folder in the checkpoint: "", "optimizer/master", "optimizer/first_moment",
/// "optimizer/second_moment".
std::string folder_of(CheckpointPart part);

/// Bytes that are hashed together, at most: what a reader has to read to trust one number.
inline constexpr std::int64_t kPieceBytes = 16 << 20;

/// What one rank wrote of a tensor. Piece i are the elements from i * piece_elements on.
struct HashedRange {
  std::int64_t rank = 0;
  TensorRange range;
  std::vector<Checksum> pieces;

  bool operator==(const HashedRange&) const = default;
};

struct CheckpointTensor {
  CheckpointPart part = CheckpointPart::kWeights;
  std::string name;
  TensorType type = TensorType::kF32;
  std::vector<std::int64_t> shape;
  /// The file that holds the whole tensor, relative to the checkpoint; empty where each rank wrote
  /// its ranges to its own file.
  std::string file;
  /// They tile the tensor.
  std::vector<HashedRange> ranges;

  bool operator==(const CheckpointTensor&) const = default;
};

/// A file of the checkpoint, by its path in it.
struct CheckpointFile {
  std::string name;
  common::Bytes bytes;
  /// Of the first checked_bytes: the header of a safetensors file, all of another one.
  common::Bytes checked_bytes;
  Checksum checksum;

  bool operator==(const CheckpointFile&) const = default;
};

/// Everything that a checkpoint consists of, so that a reader can tell whether it is whole:
/// manifest.json.
struct CheckpointManifest {
  std::int64_t step = 0;
  /// Axis and size, outermost first, of the mesh that wrote it.
  std::vector<std::pair<std::string, std::int64_t>> mesh;
  std::vector<CheckpointFile> files;
  std::vector<CheckpointTensor> tensors;

  bool operator==(const CheckpointManifest&) const = default;
};

/// Elements of a piece of that type.
std::int64_t piece_elements(TensorType type);
/// The pieces of a range, in order.
std::vector<TensorRange> pieces_of(const TensorRange& range, TensorType type);

/// Where ranks that write their own files put them.
inline constexpr const char* kRankFolder = "ranks";
/// The file of a rank that writes its own, and the tensor in it that holds its range.
std::string rank_file(std::int64_t rank);
std::string rank_tensor(CheckpointPart part, const std::string& name);

inline constexpr const char* kManifestName = "manifest.json";

/// The text of manifest.json. Its first line has the checksum of the text, taken with zeros in the
/// checksum's place.
std::string to_text(const CheckpointManifest& manifest);

/// Reads manifest.json of a checkpoint's folder. Throws kCorruptCheckpoint, naming the file, where
/// it is missing, has another checksum, breaks the schema, names a file outside of the checkpoint,
/// or has ranges that do not tile their tensor; kInvalidInput for a later schema.
CheckpointManifest read_manifest(const std::filesystem::path& step_folder);
CheckpointManifest parse_manifest(const std::string& text, const std::string& where);

/// The ranges as a rank reports them to the one that writes the manifest, and back.
std::string to_text(const std::vector<CheckpointTensor>& tensors);
std::vector<CheckpointTensor> parse_tensors(const std::string& text, const std::string& where);

}  // namespace meshplan::formats

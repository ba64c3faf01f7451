#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <map>
#include <span>
#include <string>
#include <vector>

#include "formats/checkpoint_manifest.h"
#include "formats/safetensors.h"

namespace meshplan::formats {

/// Where each tensor of a checkpoint goes, before a byte is written: every rank makes the same list
/// from the model alone.
struct PlannedTensor {
  CheckpointPart part = CheckpointPart::kWeights;
  std::string name;
  TensorType type = TensorType::kF32;
  std::vector<std::int64_t> shape;
  /// Index of its file, and its first byte there.
  std::size_t file = 0;
  std::int64_t offset = 0;
};

struct PlannedFile {
  /// Relative to the checkpoint: "optimizer/master/model-00001-of-00002.safetensors".
  std::string name;
  /// What stands before the tensors.
  std::string prefix;
  std::int64_t bytes = 0;
};

struct CheckpointFiles {
  std::vector<PlannedFile> files;
  std::vector<PlannedTensor> tensors;

  /// Throws kInternal where there is none.
  const PlannedTensor& find(CheckpointPart part, const std::string& name) const;
};

/// A file takes tensors until it has so many bytes.
inline constexpr std::int64_t kFileBytes = 5'000'000'000;

/// Lays whole tensors out in files as Hugging Face names them, part by part, in the order given.
/// The tensors of a part have its type.
CheckpointFiles plan_whole_files(const std::vector<TensorToWrite>& tensors, TensorType weights,
                                 const std::vector<CheckpointPart>& parts,
                                 std::int64_t file_bytes = kFileBytes);

/// The parts of a checkpoint whose weights have that type: float32 weights are the masters.
std::vector<CheckpointPart> parts_of(TensorType weights);

/// model.safetensors.index.json of each part, by its path in the checkpoint.
std::map<std::string, std::string> index_files(const CheckpointFiles& files);

/// A file that several processes write at positions of their own.
class PositionedFile {
 public:
  /// Makes the file, of that size, with these first bytes. Throws kIo, as all functions here.
  static PositionedFile create(const std::filesystem::path& path, const std::string& prefix,
                               std::int64_t bytes);
  /// Opens it for writing.
  explicit PositionedFile(std::filesystem::path path);
  ~PositionedFile();
  PositionedFile(PositionedFile&& other) noexcept;
  PositionedFile(const PositionedFile&) = delete;
  PositionedFile& operator=(const PositionedFile&) = delete;

  void write_at(std::int64_t offset, std::span<const std::byte> bytes) const;
  /// Waits until the data is on the disk.
  void flush() const;

 private:
  PositionedFile(std::filesystem::path path, int flags);
  [[noreturn]] void fail(const char* doing) const;

  std::filesystem::path path_;
  int descriptor_ = -1;
};

/// Stores numbers in their type, `first` being the first of a range of a tensor; returns the range
/// with the checksums of its pieces. `write(element, bytes)` gets the stored bytes, a piece or less
/// at a time, from that element of the range on. Float32 is not copied.
HashedRange store_range(
    std::int64_t rank, const TensorRange& range, const float* first, TensorType type,
    const std::function<void(std::int64_t element, std::span<const std::byte> bytes)>& write);

/// Writes bytes that are elements of the range, from `element` of it on, to their places in a file
/// that holds the whole tensor.
void write_elements(const PositionedFile& file, const PlannedTensor& tensor,
                    const TensorRange& range, std::int64_t element,
                    std::span<const std::byte> bytes);

}  // namespace meshplan::formats

#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <map>
#include <span>
#include <string>
#include <vector>

#include "formats/random_access_file.h"
#include "formats/safetensors_header.h"

namespace meshplan::formats {

/// One safetensors file, open for reading: an 8-byte little-endian header length, a JSON header,
/// the tensors' bytes (https://huggingface.co/docs/safetensors). Nothing of the data is read before
/// it is asked for.
class SafetensorsFile {
 public:
  /// Throws kIo where the file cannot be read and kInvalidInput where it breaks the format: a
  /// header over 100,000,000 bytes or longer than the file, or what parse_safetensors_header
  /// refuses.
  explicit SafetensorsFile(std::filesystem::path path);

  const std::filesystem::path& path() const { return file_.path(); }
  const std::map<std::string, SafetensorsEntry>& entries() const { return header_.entries; }
  const std::map<std::string, std::string>& metadata() const { return header_.metadata; }

  /// The tensor of that name; null where there is none.
  const SafetensorsEntry* find(const std::string& name) const;

  /// Fills `out` with the tensor's bytes from its own byte `byte_offset` on. Throws kInvalidInput
  /// where the file has become shorter since it was opened, kIo where it cannot be read. Safe to
  /// call from several threads.
  void read(const SafetensorsEntry& entry, std::int64_t byte_offset,
            std::span<std::byte> out) const;

 private:
  RandomAccessFile file_;
  SafetensorsHeader header_;
};

struct TensorToWrite {
  std::string name;
  TensorType type = TensorType::kF32;
  std::vector<std::int64_t> shape;
};

/// Bytes that the tensor takes. Throws kInvalidInput where they do not fit 63 bits.
std::int64_t byte_size(const TensorToWrite& tensor);

/// What stands in a file before the data of these tensors, which lie in their order: the header's
/// length, and the header. "format": "pt" joins the metadata, because transformers refuses files
/// without it. Throws kInternal where a name comes twice.
std::string safetensors_prefix(std::span<const TensorToWrite> tensors,
                               std::map<std::string, std::string> metadata = {});

/// The bytes of the tensor with that index, valid until the next call.
using TensorBytes = std::function<std::span<const std::byte>(std::size_t index)>;

/// Writes the tensors, in their order, to a temporary beside `path` that then replaces it, holding
/// one tensor at a time. Throws kIo, and kInternal where a name comes twice or bytes do not have
/// the size of their shape.
void write_safetensors(const std::filesystem::path& path, std::span<const TensorToWrite> tensors,
                       const TensorBytes& bytes_of,
                       std::map<std::string, std::string> metadata = {});

}  // namespace meshplan::formats

#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "common/units.h"

namespace meshplan::formats {

/// Element types of safetensors files that occupy whole bytes.
enum class TensorType {
  kBool,
  kU8,
  kI8,
  kF8E4M3,
  kF8E5M2,
  kU16,
  kI16,
  kF16,
  kBF16,
  kU32,
  kI32,
  kF32,
  kU64,
  kI64,
  kF64,
};

/// Bytes of one element.
std::int64_t size_of(TensorType type);

/// As the format names it: "BF16", "F8_E4M3".
const char* to_string(TensorType type);

/// Where a tensor lies in its file, rows first (C order), little endian.
struct SafetensorsEntry {
  TensorType type = TensorType::kF32;
  std::vector<std::int64_t> shape;
  /// From the begin of the file.
  std::int64_t offset = 0;
  /// The product of shape times the size of an element.
  common::Bytes bytes;

  bool operator==(const SafetensorsEntry&) const = default;
};

struct SafetensorsHeader {
  std::map<std::string, SafetensorsEntry> entries;
  std::map<std::string, std::string> metadata;
};

/// Reads the JSON header of a safetensors file whose data begins at the byte `data_begin` and ends,
/// with the file, at `file_size`. Throws kInvalidInput naming the file, the tensor and what is
/// wrong, unless every tensor has a known type and a size that is its shape's, and the tensors,
/// sorted by offset, fill the data exactly.
SafetensorsHeader parse_safetensors_header(std::string_view json, std::int64_t data_begin,
                                           std::int64_t file_size, const std::string& file);

}  // namespace meshplan::formats

#pragma once

#include <cstdint>
#include <string>

namespace meshplan::tests {

/// The bytes of a safetensors file with this header text and data.
inline std::string safetensors_bytes(const std::string& header, const std::string& data) {
  const std::uint64_t length = header.size();
  return std::string(reinterpret_cast<const char*>(&length), sizeof length) + header + data;
}

/// A header of one 4-byte tensor, "t".
inline const std::string kOneTensor = R"({"t":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}})";

}  // namespace meshplan::tests

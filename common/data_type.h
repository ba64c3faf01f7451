#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace meshplan::common {

/// Element types of parameters, activations and reductions; float8 of the operands of matrix
/// multiplies alone.
enum class DataType { kFloat32, kBfloat16, kFloat16, kFloat8 };

/// Bytes of one element.
constexpr std::int64_t size_of(DataType type) {
  if (type == DataType::kFloat8) return 1;
  return type == DataType::kFloat32 ? 4 : 2;
}

/// "float32", "bfloat16" or "float16", as torch names them, or "float8".
const char* to_string(DataType type);

/// The type of that name, but for float8; throws kInvalidInput, naming `where` and the allowed
/// names.
DataType parse_data_type(std::string_view name, const std::string& where);

}  // namespace meshplan::common

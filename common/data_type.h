#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace meshplan::common {

/// Element types of parameters, activations and reductions.
enum class DataType { kFloat32, kBfloat16, kFloat16 };

/// Bytes of one element.
constexpr std::int64_t size_of(DataType type) { return type == DataType::kFloat32 ? 4 : 2; }

/// "float32", "bfloat16" or "float16", as torch names them.
const char* to_string(DataType type);

/// The type of that name; throws kInvalidInput, naming `where` and the allowed names.
DataType parse_data_type(std::string_view name, const std::string& where);

}  // namespace meshplan::common

#include "common/data_type.h"

#include "common/error.h"

namespace meshplan::common {

const char* to_string(DataType type) {
  switch (type) {
    case DataType::kFloat32:
      return "float32";
    case DataType::kBfloat16:
      return "bfloat16";
    case DataType::kFloat16:
      return "float16";
    case DataType::kFloat8:
      return "float8";
  }
  return "float32";
}

DataType parse_data_type(std::string_view name, const std::string& where) {
  for (DataType type : {DataType::kFloat32, DataType::kBfloat16, DataType::kFloat16}) {
    if (name == to_string(type)) return type;
  }
  throw Error(ErrorCode::kInvalidInput,
              "unknown data type '" + std::string(name) + "'; use float32, bfloat16 or float16",
              where);
}

}  // namespace meshplan::common

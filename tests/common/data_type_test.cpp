#include "common/data_type.h"

#include <gtest/gtest.h>

#include "tests/common/expect_error.h"

namespace meshplan::common {
namespace {

TEST(DataType, NamesAreReadBack) {
  for (DataType type : {DataType::kFloat32, DataType::kBfloat16, DataType::kFloat16}) {
    EXPECT_EQ(parse_data_type(to_string(type), "flag"), type);
  }
}

TEST(DataType, SizesAreBytesOfAnElement) {
  EXPECT_EQ(size_of(DataType::kFloat32), 4);
  EXPECT_EQ(size_of(DataType::kBfloat16), 2);
  EXPECT_EQ(size_of(DataType::kFloat16), 2);
}

TEST(DataType, RefusesAnUnknownNameWithTheKnownOnes) {
  tests::expect_error(
      ErrorCode::kInvalidInput, [] { parse_data_type("float8", "--param-dtype"); }, "--param-dtype",
      "'float8'", "float32, bfloat16 or float16");
}

}  // namespace
}  // namespace meshplan::common

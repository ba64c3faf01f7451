#include "formats/float_storage.h"

#include <gtest/gtest.h>

#include <array>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <limits>

namespace meshplan::formats {
namespace {

std::uint16_t stored(float value, TensorType type) {
  std::array<std::byte, 2> bytes{};
  store_floats({&value, 1}, type, bytes);
  std::uint16_t half = 0;
  std::memcpy(&half, bytes.data(), sizeof half);
  return half;
}

float loaded(std::uint16_t half, TensorType type) {
  float value = 0;
  load_floats(std::as_bytes(std::span(&half, 1)), type, {&value, 1});
  return value;
}

TEST(FloatStorage, RoundsToTheNearestTiesToEven) {
  const auto type = TensorType::kBF16;
  EXPECT_EQ(stored(1.0f, type), 0x3f80);
  EXPECT_EQ(stored(0x1.01p0f, type), 0x3f80) << "a tie";
  EXPECT_EQ(stored(0x1.03p0f, type), 0x3f82) << "a tie";
  EXPECT_EQ(stored(0x1.010002p0f, type), 0x3f81);
  EXPECT_EQ(stored(-std::numeric_limits<float>::max(), type), 0xff80);
  const auto half = TensorType::kF16;
  EXPECT_EQ(stored(1.0f, half), 0x3c00);
  EXPECT_EQ(stored(0x1.002p0f, half), 0x3c00) << "a tie";
  EXPECT_EQ(stored(0x1.006p0f, half), 0x3c02) << "a tie";
  EXPECT_EQ(stored(65504.0f, half), 0x7bff);
  EXPECT_EQ(stored(65519.9f, half), 0x7bff);
  EXPECT_EQ(stored(65520.0f, half), 0x7c00);
  EXPECT_EQ(stored(0x1p-24f, half), 0x0001);
  EXPECT_EQ(stored(0x1p-25f, half), 0x0000) << "a tie";
  EXPECT_EQ(stored(0x1.8p-24f, half), 0x0002) << "a tie";
  EXPECT_EQ(stored(0x1.ff8p-15f, half), 0x03ff);
  EXPECT_EQ(stored(0x1.ffcp-15f, half), 0x0400) << "a tie, up to the smallest normal number";
}

TEST(FloatStorage, GivesEveryStoredNumberBack) {
  for (const TensorType type : {TensorType::kBF16, TensorType::kF16}) {
    int compared = 0;
    for (std::uint32_t bits = 0; bits <= 0xffff; ++bits) {
      const auto half = static_cast<std::uint16_t>(bits);
      const float value = loaded(half, type);
      if (std::isnan(value)) {
        EXPECT_TRUE(std::isnan(loaded(stored(value, type), type)));
        continue;
      }
      ASSERT_EQ(stored(value, type), half) << to_string(type) << " " << bits;
      ++compared;
    }
    EXPECT_GT(compared, 63000);
  }
}

}  // namespace
}  // namespace meshplan::formats

#include "formats/float_storage.h"

#include <bit>
#include <cmath>
#include <cstdint>
#include <cstring>

#include "common/error.h"

namespace meshplan::formats {
namespace {

std::uint16_t to_bfloat16(float value) {
  if (std::isnan(value)) return 0x7fc0;
  const auto bits = std::bit_cast<std::uint32_t>(value);
  return static_cast<std::uint16_t>((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
}

float from_bfloat16(std::uint16_t bits) {
  return std::bit_cast<float>(static_cast<std::uint32_t>(bits) << 16);
}

std::uint16_t to_float16(float value) {
  const auto bits = std::bit_cast<std::uint32_t>(value);
  const auto sign = static_cast<std::uint16_t>(bits >> 16 & 0x8000);
  const float magnitude = std::fabs(value);
  if (std::isnan(value)) return static_cast<std::uint16_t>(sign | 0x7e00);
  // Half way between the largest F16, 65504, and the next that it cannot hold.
  if (magnitude >= 65520.0f) return static_cast<std::uint16_t>(sign | 0x7c00);
  if (magnitude < 0x1p-14f) {
    // Subnormal: a multiple of 2^-24, which the sum rounds to.
    const auto units = static_cast<std::uint16_t>(std::nearbyint(magnitude * 0x1p24f));
    return static_cast<std::uint16_t>(sign | units);
  }
  const std::uint32_t positive = bits & 0x7fffffff;
  const std::uint32_t rounded = positive + 0xfff + (positive >> 13 & 1);
  return static_cast<std::uint16_t>(sign | ((rounded - (112u << 23)) >> 13));
}

float from_float16(std::uint16_t bits) {
  const bool negative = (bits & 0x8000) != 0;
  const int exponent = bits >> 10 & 0x1f;
  const int fraction = bits & 0x3ff;
  float magnitude = 0;
  if (exponent == 0) {
    magnitude = std::ldexp(static_cast<float>(fraction), -24);
  } else if (exponent == 31) {
    magnitude = fraction == 0 ? HUGE_VALF : std::nanf("");
  } else {
    magnitude = std::ldexp(static_cast<float>(fraction + 0x400), exponent - 25);
  }
  return negative ? -magnitude : magnitude;
}

void check(std::size_t values, TensorType type, std::size_t bytes) {
  if (!stores_floats(type) || values * static_cast<std::size_t>(size_of(type)) != bytes) {
    throw common::Error(common::ErrorCode::kInternal,
                        std::string("cannot convert float32 and ") + to_string(type));
  }
}

template <class Convert>
void store_halves(std::span<const float> values, std::byte* out, Convert convert) {
  for (std::size_t i = 0; i < values.size(); ++i) {
    const std::uint16_t half = convert(values[i]);
    std::memcpy(out + 2 * i, &half, sizeof half);
  }
}

template <class Convert>
void load_halves(const std::byte* stored, std::span<float> values, Convert convert) {
  for (std::size_t i = 0; i < values.size(); ++i) {
    std::uint16_t half = 0;
    std::memcpy(&half, stored + 2 * i, sizeof half);
    values[i] = convert(half);
  }
}

}  // namespace

bool stores_floats(TensorType type) {
  return type == TensorType::kF32 || type == TensorType::kBF16 || type == TensorType::kF16;
}

void store_floats(std::span<const float> values, TensorType type, std::span<std::byte> out) {
  check(values.size(), type, out.size());
  if (type == TensorType::kF32) {
    if (!values.empty()) std::memcpy(out.data(), values.data(), out.size());
  } else if (type == TensorType::kBF16) {
    store_halves(values, out.data(), to_bfloat16);
  } else {
    store_halves(values, out.data(), to_float16);
  }
}

void load_floats(std::span<const std::byte> stored, TensorType type, std::span<float> values) {
  check(values.size(), type, stored.size());
  if (type == TensorType::kF32) {
    if (!values.empty()) std::memcpy(values.data(), stored.data(), stored.size());
  } else if (type == TensorType::kBF16) {
    load_halves(stored.data(), values, from_bfloat16);
  } else {
    load_halves(stored.data(), values, from_float16);
  }
}

}  // namespace meshplan::formats

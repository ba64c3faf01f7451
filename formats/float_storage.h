#pragma once

#include <cstddef>
#include <span>

#include "formats/safetensors_header.h"

namespace meshplan::formats {

/// True for F32, BF16 and F16.
bool stores_floats(TensorType type);

/// Writes the numbers as that type, rounded to the nearest, ties to even, as torch does; what
/// exceeds F16 becomes infinite. `out` has values.size() elements of the type.
void store_floats(std::span<const float> values, TensorType type, std::span<std::byte> out);

/// Reads numbers of that type; exact. `stored` has values.size() elements.
void load_floats(std::span<const std::byte> stored, TensorType type, std::span<float> values);

}  // namespace meshplan::formats

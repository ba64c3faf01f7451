#pragma once

#include <compare>
#include <cstdint>

namespace meshplan::common {

/// A number with a unit: quantities of one unit add and compare, and scale by plain numbers;
/// nothing else converts.
template <class Unit, class Number>
struct Quantity {
  Number value{};

  constexpr Quantity() = default;
  constexpr explicit Quantity(Number number) : value(number) {}

  constexpr auto operator<=>(const Quantity&) const = default;
  constexpr Quantity operator-() const { return Quantity(-value); }
  constexpr Quantity& operator+=(Quantity other) { return value += other.value, *this; }
  constexpr Quantity& operator-=(Quantity other) { return value -= other.value, *this; }
  friend constexpr Quantity operator+(Quantity a, Quantity b) {
    return Quantity(a.value + b.value);
  }
  friend constexpr Quantity operator-(Quantity a, Quantity b) {
    return Quantity(a.value - b.value);
  }
  friend constexpr Quantity operator*(Quantity a, Number factor) {
    return Quantity(a.value * factor);
  }
  friend constexpr Quantity operator*(Number factor, Quantity a) {
    return Quantity(a.value * factor);
  }
  friend constexpr Quantity operator/(Quantity a, Number divisor) {
    return Quantity(a.value / divisor);
  }
};

/// Sizes of memory and messages. GB = 1e9, GiB = 2^30.
using Bytes = Quantity<struct BytesUnit, std::int64_t>;
/// Measured or predicted time.
using Seconds = Quantity<struct SecondsUnit, double>;
/// Floating-point operations; a multiply-add is 2.
using Flops = Quantity<struct FlopsUnit, double>;
/// A link's bandwidth (one direction) or a memory's.
using BytesPerSecond = Quantity<struct BytesPerSecondUnit, double>;
using FlopsPerSecond = Quantity<struct FlopsPerSecondUnit, double>;
using Watts = Quantity<struct WattsUnit, double>;
/// Money for one device's hour, in whatever currency the user counts.
using PricePerHour = Quantity<struct PricePerHourUnit, double>;

constexpr Seconds operator/(Bytes size, BytesPerSecond rate) {
  return Seconds(static_cast<double>(size.value) / rate.value);
}
constexpr Seconds operator/(Flops work, FlopsPerSecond rate) {
  return Seconds(work.value / rate.value);
}

inline constexpr Bytes kGiB{std::int64_t{1} << 30};
inline constexpr Bytes kGB{1'000'000'000};

}  // namespace meshplan::common

#pragma once

#include <ATen/Parallel.h>
#include <ATen/core/Tensor.h>

#include <algorithm>
#include <array>
#include <bit>
#include <cstdint>
#include <type_traits>

/// Marks a function whose loops are compiled for every x86-64 and for those with AVX2 or AVX-512;
/// the loader picks. Not under sanitizers: they are not yet set up when the loader asks.
#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__) && \
    !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
#define MESHPLAN_VECTOR_CLONES [[gnu::target_clones("default", "arch=x86-64-v3", "arch=x86-64-v4")]]
#else
#define MESHPLAN_VECTOR_CLONES
#endif

/// What the fused CPU kernels share. Elements are float, double, c10::BFloat16 or c10::Half;
/// arithmetic is double for double and float for the others, and so are statistics (reciprocal
/// norms, maxima, sums).
namespace meshplan::executor {

template <class T>
using Arithmetic = std::conditional_t<std::is_same_v<T, double>, double, float>;

/// The type of statistics over elements of this type.
inline at::ScalarType statistics_type(at::ScalarType elements) {
  return elements == at::kDouble ? at::kDouble : at::kFloat;
}

/// The element in the type that is computed with, and back, rounded to nearest.
template <class T>
[[gnu::always_inline]] inline Arithmetic<T> widen(const T& element) {
  return static_cast<Arithmetic<T>>(element);
}

template <class T>
[[gnu::always_inline]] inline void store_rounded(T& element, Arithmetic<T> value) {
  element = static_cast<T>(value);
}

/// Calls body.template operator()<T>() with the element type of a tensor.
template <class Body>
void visit_elements(at::ScalarType type, const Body& body) {
  switch (type) {
    case at::kFloat:
      return body.template operator()<float>();
    case at::kDouble:
      return body.template operator()<double>();
    case at::kBFloat16:
      return body.template operator()<c10::BFloat16>();
    case at::kHalf:
      return body.template operator()<c10::Half>();
    default:
      TORCH_CHECK(false, "element type ", type,
                  " is not computed; use float32, bfloat16 or float16");
  }
}

/// body(begin, end) over [0, count) on torch's threads, with at least 32 Ki elements of work a
/// thread.
template <class Body>
void parallel_ranges(std::int64_t count, std::int64_t elements_each, const Body& body) {
  constexpr std::int64_t kGrain = 32768;
  at::parallel_for(
      0, count, std::max<std::int64_t>(1, kGrain / std::max<std::int64_t>(1, elements_each)), body);
}

/// e^x to about 1 ulp for finite x, in a form that loops vectorise: 2^n * e^r, |r| <= ln(2)/2, e^r
/// by its Taylor series. Saturates near the ends of the type's range instead of reaching 0 or
/// infinity; NaN stays NaN.
template <class Real>
[[gnu::always_inline]] inline Real vector_exp(Real x) {
  constexpr bool kFloat = std::is_same_v<Real, float>;
  using Bits = std::conditional_t<kFloat, std::uint32_t, std::uint64_t>;
  constexpr int kMantissaBits = kFloat ? 23 : 52;
  constexpr Bits kExponentBias = kFloat ? 127 : 1023;
  constexpr Real kLowest = kFloat ? Real(-87.0) : Real(-708.0);
  constexpr Real kHighest = kFloat ? Real(88.0) : Real(709.0);
  // Adding it rounds to an integer, which then stands in the low bits.
  constexpr Real kRound = Real(1.5) * Real(Bits{1} << kMantissaBits);
  constexpr Real kLn2High = kFloat ? Real(0.693359375) : Real(6.93145751953125e-1);
  constexpr Real kLn2Low = kFloat ? Real(-2.12194440e-4) : Real(1.42860682030941723212e-6);
  constexpr int kDegree = kFloat ? 7 : 13;
  constexpr auto kCoefficients = [] {
    std::array<Real, kDegree + 1> inverse_factorials{};
    double factorial = 1;
    for (int k = 0; k <= kDegree; factorial *= ++k) {
      inverse_factorials[static_cast<std::size_t>(k)] = static_cast<Real>(1 / factorial);
    }
    return inverse_factorials;
  }();

  x = x < kLowest ? kLowest : x;
  x = x > kHighest ? kHighest : x;
  const Real rounded = x * Real(1.44269504088896340736) + kRound;
  const Real n = rounded - kRound;
  const Real r = (x - n * kLn2High) - n * kLn2Low;
  Real series = kCoefficients[kDegree];
  for (std::size_t k = kDegree; k-- > 0;) series = series * r + kCoefficients[k];
  const Bits exponent = std::bit_cast<Bits>(rounded) - std::bit_cast<Bits>(kRound) + kExponentBias;
  return series * std::bit_cast<Real>(exponent << kMantissaBits);
}

}  // namespace meshplan::executor

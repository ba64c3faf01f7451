#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

namespace meshplan::planner {

/// Numbers of blocks in so many regions may vary, and the number of microbatches.
inline constexpr std::size_t kRegions = 3;

/// What varies between the layouts that share a table, as differences from the one that the table
/// was made from.
struct Variation {
  std::array<std::int64_t, kRegions> blocks{};
  std::int64_t microbatches = 0;
};

/// The products of 1 and the blocks of each region with 1 and the microbatches.
inline constexpr std::size_t kTerms = 2 * (kRegions + 1);

/// The index of the term that grows with a region's blocks alone, and of that with microbatches
/// alone.
constexpr std::size_t block_term(std::size_t region) { return region + 1; }
inline constexpr std::size_t kMicrobatchTerm = kRegions + 1;

/// The value of each term.
template <class Number>
std::array<Number, kTerms> terms_of(const Variation& at) {
  std::array<Number, kTerms> terms{};
  const auto microbatches = static_cast<Number>(at.microbatches);
  terms[0] = 1;
  terms[kMicrobatchTerm] = microbatches;
  for (std::size_t r = 0; r < kRegions; ++r) {
    const auto blocks = static_cast<Number>(at.blocks[r]);
    terms[block_term(r)] = blocks;
    terms[kMicrobatchTerm + block_term(r)] = blocks * microbatches;
  }
  return terms;
}

/// A quantity of a layout as a linear form in the terms; the first coefficient is its value where
/// nothing varies.
template <class Number>
struct Form {
  std::array<Number, kTerms> coefficients{};

  Form() = default;
  Form(Number value) { coefficients[0] = value; }

  Number value() const { return coefficients[0]; }
  Number at(const std::array<Number, kTerms>& terms) const {
    Number sum{};
    for (std::size_t t = 0; t < kTerms; ++t) sum += coefficients[t] * terms[t];
    return sum;
  }
  bool is_constant() const {
    for (std::size_t t = 1; t < kTerms; ++t) {
      if (coefficients[t] != Number{}) return false;
    }
    return true;
  }

  Form& operator+=(const Form& other) {
    for (std::size_t t = 0; t < kTerms; ++t) coefficients[t] += other.coefficients[t];
    return *this;
  }
  Form& operator-=(const Form& other) {
    for (std::size_t t = 0; t < kTerms; ++t) coefficients[t] -= other.coefficients[t];
    return *this;
  }
  friend Form operator+(Form a, const Form& b) { return a += b; }
  friend Form operator-(Form a, const Form& b) { return a -= b; }

  /// Times a number that is `factor` where nothing varies, and grows by one with each block of a
  /// region. Requires a form that no region's blocks are in.
  Form times_blocks(Number factor, std::size_t region) const {
    Form product;
    for (std::size_t m : {std::size_t{0}, kMicrobatchTerm}) {
      product.coefficients[m] = coefficients[m] * factor;
      product.coefficients[m + block_term(region)] = coefficients[m];
    }
    return product;
  }
  /// The same with each microbatch. Requires a form that microbatches are not in.
  Form times_microbatches(Number factor) const {
    Form product;
    for (std::size_t t = 0; t < kMicrobatchTerm; ++t) {
      product.coefficients[t] = coefficients[t] * factor;
      product.coefficients[t + kMicrobatchTerm] = coefficients[t];
    }
    return product;
  }
  Form times(Number factor) const {
    Form product = *this;
    for (Number& coefficient : product.coefficients) coefficient *= factor;
    return product;
  }

  bool operator==(const Form&) const = default;
};

}  // namespace meshplan::planner

#include "executor/kernels/rope.h"

#include <ATen/ATen.h>

#include <numbers>

#include "common/error.h"
#include "executor/kernels/composed.h"
#include "executor/kernels/fused.h"
#include "executor/kernels/vector_loops.h"

namespace meshplan::executor {
namespace {

/// The "llama3" rope type: long waves are stretched by `factor`, short ones stay, those between are
/// interpolated.
at::Tensor stretch_like_llama3(const planner::RopeSpec& spec, const at::Tensor& frequencies) {
  const double original = static_cast<double>(spec.original_max_position_embeddings);
  const double longest_kept = original / spec.high_freq_factor;
  const double shortest_stretched = original / spec.low_freq_factor;
  const at::Tensor wavelengths = (2 * std::numbers::pi) / frequencies;
  const at::Tensor stretched = frequencies / spec.factor;
  const at::Tensor share = (original / wavelengths - spec.low_freq_factor) /
                           (spec.high_freq_factor - spec.low_freq_factor);
  const at::Tensor between = (1 - share) * stretched + share * frequencies;
  return at::where(wavelengths > shortest_stretched, stretched,
                   at::where(wavelengths < longest_kept, frequencies, between));
}

at::Tensor rope_frequencies(const planner::RopeSpec& spec, std::int64_t head_dim,
                            at::TensorOptions options) {
  const at::Tensor exponents = at::arange(0, head_dim, 2, options) / static_cast<double>(head_dim);
  const at::Tensor frequencies = at::reciprocal(at::pow(spec.theta, exponents));
  switch (spec.scaling) {
    case planner::RopeScaling::kNone:
      return frequencies;
    case planner::RopeScaling::kLinear:
      return frequencies / spec.factor;
    case planner::RopeScaling::kLlama3:
      return stretch_like_llama3(spec, frequencies);
    case planner::RopeScaling::kOther:
      // Refused before a rank starts (planner::require_trainable).
      break;
  }
  throw common::Error(common::ErrorCode::kInternal, "unknown rope scaling");
}

template <class T>
MESHPLAN_VECTOR_CLONES void rotate_row(const Arithmetic<T>* cos, const Arithmetic<T>* sin,
                                       Arithmetic<T> sign, const T* source, T* destination,
                                       std::int64_t heads, std::int64_t half) {
  for (std::int64_t head = 0; head < heads; ++head, source += 2 * half, destination += 2 * half) {
#pragma omp simd
    for (std::int64_t i = 0; i < half; ++i) {
      const Arithmetic<T> first = widen(source[i]);
      const Arithmetic<T> second = widen(source[half + i]);
      const Arithmetic<T> s = sin[i] * sign;
      store_rounded(destination[i], first * cos[i] - second * s);
      store_rounded(destination[half + i], second * cos[i] + first * s);
    }
  }
}

}  // namespace

RopeTable make_rope_table(const planner::RopeSpec& spec, std::int64_t head_dim,
                          std::int64_t sequence, at::ScalarType type, at::Device device) {
  if (head_dim <= 0 || head_dim % 2 != 0) {
    throw common::Error(common::ErrorCode::kInvalidInput,
                        "head_dim=" + std::to_string(head_dim) +
                            ": rotary positions turn pairs of elements; use an even head_dim");
  }
  const at::TensorOptions options = at::TensorOptions().dtype(type);
  const at::Tensor positions = at::arange(sequence, options);
  const at::Tensor angles = at::outer(positions, rope_frequencies(spec, head_dim, options));
  return {at::cos(angles).to(device), at::sin(angles).to(device)};
}

void rotate(const RopeTable& table, Rotation rotation, const at::Tensor& source,
            const at::Tensor& destination) {
  if (!source.is_cpu()) {
    if (fused::takes(source.scalar_type()))
      return fused::rotate(table, rotation, source, destination);
    return composed::rotate(table, rotation, source, destination);
  }
  const std::int64_t half = table.cos.size(1);
  const std::int64_t sequence = table.sequence();
  const std::int64_t heads = source.size(1) / (2 * half);
  visit_elements(source.scalar_type(), [&]<class T>() {
    using Real = Arithmetic<T>;
    const Real* cos = table.cos.const_data_ptr<Real>();
    const Real* sin = table.sin.const_data_ptr<Real>();
    parallel_ranges(source.size(0), source.size(1), [&](std::int64_t begin, std::int64_t end) {
      for (std::int64_t t = begin; t < end; ++t) {
        const std::int64_t row = (t % sequence) * half;
        rotate_row(cos + row, sin + row, rotation == Rotation::kForward ? Real(1) : Real(-1),
                   source.const_data_ptr<T>() + t * source.stride(0),
                   destination.mutable_data_ptr<T>() + t * destination.stride(0), heads, half);
      }
    });
  });
}

}  // namespace meshplan::executor

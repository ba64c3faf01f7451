#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>

#include "planner/model/model_spec.h"

namespace meshplan::executor {

/// Cosines and sines of the rotary angles, each [s, D/2] in float32 or float64: row p, column i is
/// the angle of pair i at position p. Made once for a run.
struct RopeTable {
  at::Tensor cos;
  at::Tensor sin;

  std::int64_t sequence() const { return cos.size(0); }
  std::int64_t head_dim() const { return 2 * cos.size(1); }
};

/// The angles of planner::RopeSpec for positions [0, sequence). A float32 table is computed in
/// float32 throughout, as Hugging Face does, so that pretrained weights meet the angles that they
/// were trained with. Throws kInvalidInput for an odd head_dim.
RopeTable make_rope_table(const planner::RopeSpec& spec, std::int64_t head_dim,
                          std::int64_t sequence, at::ScalarType type, at::Device device);

/// kInverse rotates by the negative angles: the backward pass of kForward.
enum class Rotation { kForward, kInverse };

/// Rotates every head of every row: element i pairs with element i + D/2 (Hugging Face's "rotate
/// half"). source and destination [T, heads * D] are column ranges of possibly wider matrices, one
/// element apart within a row, and may be the same; T = b * s, the position of row t is t % s.
void rotate(const RopeTable& table, Rotation rotation, const at::Tensor& source,
            const at::Tensor& destination);

}  // namespace meshplan::executor

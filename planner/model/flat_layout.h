#pragma once

#include <array>
#include <cstdint>
#include <vector>

#include "planner/model/parameter_table.h"

namespace meshplan::planner {

/// One parameter's place in the flat buffer of its unit, in elements.
struct FlatEntry {
  Parameter parameter;
  std::vector<std::int64_t> local_shape;
  std::int64_t offset;
  std::int64_t elements;
};

/// A run of elements in a flat buffer: [begin, end).
struct FlatRange {
  std::int64_t begin;
  std::int64_t end;

  bool operator==(const FlatRange&) const = default;
};

/// How weight decay and tensor parallelism divide a flat buffer, in the order of the buffer.
enum class FlatSection { kSplitDecay, kSplitNoDecay, kReplicatedDecay, kReplicatedNoDecay };
inline constexpr std::size_t kFlatSections = 4;

/// The flat buffer of one unit: parameters in sections, each fused group (q, k and v; gate and up)
/// contiguous, so that it is one matrix, and starting at a multiple of 256 bytes in the parameter's
/// dtype; then zero padding, so that the dp_shard ranks own equal slices that start at such
/// multiples, too.
struct FlatLayout {
  std::vector<FlatEntry> entries;
  std::array<FlatRange, kFlatSections> sections;
  /// Runs that belong to no parameter; they are zero.
  std::vector<FlatRange> gaps;
  std::int64_t elements = 0;
  std::int64_t shard_elements = 0;

  const FlatEntry* find(ParameterRole role) const;
};

/// Lays out a unit's parameters, as one of `tp` ranks holds them, for `dp_shard` slices.
/// `element_size` is that of param_dtype in bytes. With decay_norms_and_biases every parameter
/// decays (AdamW of torch with one group); without, only matrices do.
FlatLayout flat_layout(const ModelSpec& model, const Unit& unit, std::int64_t tp,
                       std::int64_t dp_shard, std::int64_t element_size,
                       bool decay_norms_and_biases);

/// The same of some of a unit's parameters, in a buffer of their own.
FlatLayout flat_layout(const std::vector<Parameter>& parameters, std::int64_t tp,
                       std::int64_t dp_shard, std::int64_t element_size,
                       bool decay_norms_and_biases);

}  // namespace meshplan::planner

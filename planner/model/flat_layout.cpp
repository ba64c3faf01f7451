#include "planner/model/flat_layout.h"

#include <utility>

#include "common/checked.h"

namespace meshplan::planner {
namespace {

constexpr std::int64_t kAlignmentBytes = 256;

FlatSection section_of(const Parameter& parameter, bool decay_norms_and_biases) {
  const bool split = parameter.split != TpSplit::kReplicated;
  const bool decay = decay_norms_and_biases || parameter.shape.size() > 1;
  if (split) return decay ? FlatSection::kSplitDecay : FlatSection::kSplitNoDecay;
  return decay ? FlatSection::kReplicatedDecay : FlatSection::kReplicatedNoDecay;
}

/// True for a parameter that continues the matrix or vector of the one before it.
bool continues_group(ParameterRole before, ParameterRole role) {
  using enum ParameterRole;
  switch (role) {
    case kKeyWeight:
      return before == kQueryWeight;
    case kValueWeight:
      return before == kKeyWeight;
    case kKeyBias:
      return before == kQueryBias;
    case kValueBias:
      return before == kKeyBias;
    case kUpWeight:
      return before == kGateWeight;
    case kUpBias:
      return before == kGateBias;
    case kExpertUpWeight:
      return before == kExpertGateWeight;
    case kSharedExpertUpWeight:
      return before == kSharedExpertGateWeight;
    default:
      return false;
  }
}

}  // namespace

const FlatEntry* FlatLayout::find(ParameterRole role) const {
  for (const FlatEntry& entry : entries) {
    if (entry.parameter.role == role) return &entry;
  }
  return nullptr;
}

FlatLayout flat_layout(const ModelSpec& model, const Unit& unit, std::int64_t tp,
                       std::int64_t dp_shard, std::int64_t element_size,
                       bool decay_norms_and_biases) {
  return flat_layout(parameters_of(model, unit), tp, dp_shard, element_size,
                     decay_norms_and_biases);
}

FlatLayout flat_layout(const std::vector<Parameter>& parameters, std::int64_t tp,
                       std::int64_t dp_shard, std::int64_t element_size,
                       bool decay_norms_and_biases) {
  const std::int64_t alignment = kAlignmentBytes / element_size;
  FlatLayout layout;
  std::int64_t used = 0;
  const auto pad_to = [&](std::int64_t offset) {
    if (offset > used) layout.gaps.push_back({used, offset});
    used = offset;
  };
  for (std::size_t s = 0; s < kFlatSections; ++s) {
    layout.sections[s].begin = used;
    for (const Parameter& parameter : parameters) {
      if (section_of(parameter, decay_norms_and_biases) != static_cast<FlatSection>(s)) continue;
      const bool continues = !layout.entries.empty() &&
                             continues_group(layout.entries.back().parameter.role, parameter.role);
      if (!continues) pad_to(common::round_up(used, alignment));
      FlatEntry entry{parameter, local_shape(parameter, tp), used, 1};
      for (std::int64_t size : entry.local_shape) {
        entry.elements = common::checked_multiply(entry.elements, size, parameter.name);
      }
      used = common::checked_add(used, entry.elements, parameter.name);
      layout.entries.push_back(std::move(entry));
    }
    layout.sections[s].end = used;
  }
  layout.shard_elements = common::round_up(common::ceil_divide(used, dp_shard), alignment);
  layout.elements = common::checked_multiply(layout.shard_elements, dp_shard, "flat buffer");
  pad_to(layout.elements);
  return layout;
}

}  // namespace meshplan::planner

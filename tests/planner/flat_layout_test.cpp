#include "planner/model/flat_layout.h"

#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>

#include <algorithm>
#include <map>

#include "tests/planner/random_plans.h"

namespace meshplan::planner {
namespace {

using Role = ParameterRole;

struct Case {
  ModelSpec model;
  Unit unit;
  std::int64_t tp;
  std::int64_t dp_shard;
  std::int64_t element_size;
  bool decay_all;
};

Case any_case() {
  const ModelSpec model = any_model();
  const Unit unit = unit_at(model, *rc::gen::inRange<std::int64_t>(0, unit_count(model)));
  return {.model = model,
          .unit = unit,
          .tp = *rc::gen::element<std::int64_t>(1, 2, 4),
          .dp_shard = *rc::gen::inRange<std::int64_t>(1, 10),
          .element_size = *rc::gen::element<std::int64_t>(2, 4),
          .decay_all = *rc::gen::arbitrary<bool>()};
}

FlatLayout flat_of(const Case& c) {
  return flat_layout(c.model, c.unit, c.tp, c.dp_shard, c.element_size, c.decay_all);
}

/// Roles that must follow the role given, without a gap, as rows of one matrix.
const std::map<Role, Role> kFollows = {
    {Role::kKeyWeight, Role::kQueryWeight}, {Role::kValueWeight, Role::kKeyWeight},
    {Role::kKeyBias, Role::kQueryBias},     {Role::kValueBias, Role::kKeyBias},
    {Role::kUpWeight, Role::kGateWeight},   {Role::kUpBias, Role::kGateBias}};

RC_GTEST_PROP(FlatLayout, EntriesAndGapsTileTheBuffer, ()) {
  const FlatLayout flat = flat_of(any_case());
  std::vector<FlatRange> ranges = flat.gaps;
  for (const FlatEntry& entry : flat.entries) {
    ranges.push_back({entry.offset, entry.offset + entry.elements});
  }
  std::sort(ranges.begin(), ranges.end(),
            [](const FlatRange& a, const FlatRange& b) { return a.begin < b.begin; });
  std::int64_t reached = 0;
  for (const FlatRange& range : ranges) {
    RC_ASSERT(range.begin == reached);
    RC_ASSERT(range.end > range.begin);
    reached = range.end;
  }
  RC_ASSERT(reached == flat.elements);
}

RC_GTEST_PROP(FlatLayout, FusedGroupsAreContiguousAndStartAtMultiplesOf256Bytes, ()) {
  const Case c = any_case();
  const FlatLayout flat = flat_of(c);
  for (const FlatEntry& entry : flat.entries) {
    const auto follows = kFollows.find(entry.parameter.role);
    const bool up =
        entry.parameter.role == Role::kUpWeight || entry.parameter.role == Role::kUpBias;
    if (follows == kFollows.end() || (up && !c.model.gated_feed_forward)) {
      RC_ASSERT(entry.offset * c.element_size % 256 == 0);
    } else {
      const FlatEntry* before = flat.find(follows->second);
      RC_ASSERT(before != nullptr);
      RC_ASSERT(entry.offset == before->offset + before->elements);
      RC_ASSERT(entry.local_shape.size() == before->local_shape.size());
      if (entry.local_shape.size() == 2) RC_ASSERT(entry.local_shape[1] == before->local_shape[1]);
    }
  }
}

RC_GTEST_PROP(FlatLayout, RanksOwnEqualAlignedSlices, ()) {
  const Case c = any_case();
  const FlatLayout flat = flat_of(c);
  RC_ASSERT(flat.shard_elements * c.dp_shard == flat.elements);
  RC_ASSERT(flat.shard_elements * c.element_size % 256 == 0);
  RC_ASSERT(flat.shard_elements > 0);
}

RC_GTEST_PROP(FlatLayout, SectionsFollowOneAnotherAndHoldWhatTheyAreNamedFor, ()) {
  const Case c = any_case();
  const FlatLayout flat = flat_of(c);
  std::int64_t reached = 0;
  for (const FlatRange& section : flat.sections) {
    RC_ASSERT(section.begin == reached);
    RC_ASSERT(section.end >= section.begin);
    reached = section.end;
  }
  RC_ASSERT(reached <= flat.elements);
  for (const FlatEntry& entry : flat.entries) {
    const bool replicated = entry.parameter.split == TpSplit::kReplicated;
    const bool decays = c.decay_all || entry.parameter.shape.size() == 2;
    const std::size_t section = (replicated ? 2U : 0U) + (decays ? 0U : 1U);
    RC_ASSERT(entry.offset >= flat.sections[section].begin);
    RC_ASSERT(entry.offset + entry.elements <= flat.sections[section].end);
  }
}

RC_GTEST_PROP(FlatLayout, PartsOfAllTpRanksAreTheWholeParameterAndItsVocabularyPadding, ()) {
  const Case c = any_case();
  const std::vector<Parameter> parameters = parameters_of(c.model, c.unit);
  const FlatLayout flat = flat_of(c);
  RC_ASSERT(flat.entries.size() == parameters.size());
  const std::int64_t padded_vocabulary = (c.model.vocab_size + c.tp - 1) / c.tp * c.tp;
  for (const Parameter& parameter : parameters) {
    const FlatEntry* entry = flat.find(parameter.role);
    RC_ASSERT(entry != nullptr);
    RC_ASSERT(entry->parameter.name == parameter.name);
    std::int64_t whole = element_count(parameter);
    if (parameter.split == TpSplit::kVocabulary) {
      whole = padded_vocabulary * c.model.hidden_size;
    }
    const std::int64_t holders = parameter.split == TpSplit::kReplicated ? 1 : c.tp;
    RC_ASSERT(entry->elements * holders == whole);
  }
}

RC_GTEST_PROP(FlatLayout, PaddingIsLessThanABoundaryPerParameterAndSlice, ()) {
  const Case c = any_case();
  const FlatLayout flat = flat_of(c);
  std::int64_t padding = flat.elements;
  for (const FlatEntry& entry : flat.entries) padding -= entry.elements;
  const std::int64_t boundary = 256 / c.element_size;
  RC_ASSERT(padding < boundary * (std::ssize(flat.entries) + c.dp_shard + 1));
}

TEST(FlatLayout, OfALlamaBlockReadsAsTheDesignDrawsIt) {
  ModelSpec model = small_model(1);
  model.qkv_bias = false;
  const FlatLayout flat = flat_layout(model, {UnitKind::kBlock, 0}, 2, 2, 4, false);
  const std::vector<std::pair<std::string, std::int64_t>> expected = {
      {"model.layers.0.self_attn.q_proj.weight", 0},
      {"model.layers.0.self_attn.k_proj.weight", 4096},
      {"model.layers.0.self_attn.v_proj.weight", 4096 + 2048},
      {"model.layers.0.self_attn.o_proj.weight", 8192},
      {"model.layers.0.mlp.gate_proj.weight", 12288},
      {"model.layers.0.mlp.up_proj.weight", 20480},
      {"model.layers.0.mlp.down_proj.weight", 28672},
      {"model.layers.0.input_layernorm.weight", 36864},
      {"model.layers.0.post_attention_layernorm.weight", 36928}};
  std::vector<std::pair<std::string, std::int64_t>> found;
  for (const FlatEntry& entry : flat.entries)
    found.emplace_back(entry.parameter.name, entry.offset);
  EXPECT_EQ(found, expected);
  EXPECT_EQ(flat.elements, 36992);
  EXPECT_EQ(flat.shard_elements, 18496);
  EXPECT_EQ(flat.find(Role::kQueryBias), nullptr);
}

}  // namespace
}  // namespace meshplan::planner

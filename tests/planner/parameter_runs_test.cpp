#include "planner/model/parameter_runs.h"

#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>

#include <map>

#include "tests/planner/random_plans.h"

namespace meshplan::planner {
namespace {

struct Case {
  ModelSpec model;
  std::int64_t tp;
  std::int64_t dp_shard;
  std::int64_t element_size;
};

Case any_case() {
  ModelSpec model = any_model();
  model.hidden_size = 12;
  model.head_dim = 6;
  model.intermediate_size = 20;
  model.vocab_size = *rc::gen::inRange<std::int64_t>(1, 40);
  return {.model = model,
          .tp = *rc::gen::element<std::int64_t>(1, 2, 4),
          .dp_shard = *rc::gen::inRange<std::int64_t>(1, 8),
          .element_size = *rc::gen::element<std::int64_t>(2, 4)};
}

FlatLayout flat_of(const Case& c, const Unit& unit) {
  return flat_layout(c.model, unit, c.tp, c.dp_shard, c.element_size, true);
}

/// The slice of one dp_shard rank.
FlatRange slice_of(const FlatLayout& flat, std::int64_t rank) {
  return {rank * flat.shard_elements, (rank + 1) * flat.shard_elements};
}

/// Where the element of a tp rank's part lies in the whole parameter, by rows and columns.
std::int64_t whole_index(const FlatEntry& entry, std::int64_t tp_rank, std::int64_t local) {
  const bool matrix = entry.local_shape.size() == 2;
  const std::int64_t columns = matrix ? entry.local_shape[1] : 1;
  std::int64_t row = local / columns;
  std::int64_t column = local % columns;
  const TpSplit split = entry.parameter.split;
  if (split == TpSplit::kColumn || split == TpSplit::kVocabulary) {
    row += tp_rank * entry.local_shape[0];
  } else if (split == TpSplit::kRow) {
    column += tp_rank * columns;
  }
  return row * (matrix ? entry.parameter.shape[1] : 1) + column;
}

RC_GTEST_PROP(ParameterRuns, CoverEachElementOncePerHolder, ()) {
  const Case c = any_case();
  for (std::int64_t u = 0; u < unit_count(c.model); ++u) {
    const Unit unit = unit_at(c.model, u);
    const FlatLayout flat = flat_of(c, unit);
    std::map<std::string, std::vector<std::int64_t>> covered;
    for (const Parameter& parameter : parameters_of(c.model, unit)) {
      covered[parameter.name].resize(static_cast<std::size_t>(element_count(parameter)));
    }
    for (std::int64_t tp_rank = 0; tp_rank < c.tp; ++tp_rank) {
      for (std::int64_t rank = 0; rank < c.dp_shard; ++rank) {
        for_each_run(flat, slice_of(flat, rank), tp_rank, [&](const ParameterRun& run) {
          auto& counts = covered.at(run.entry->parameter.name);
          for (std::int64_t i = 0; i < run.elements; ++i) {
            ++counts.at(static_cast<std::size_t>(run.parameter_begin + i));
          }
        });
      }
    }
    for (const FlatEntry& entry : flat.entries) {
      const std::int64_t holders = entry.parameter.split == TpSplit::kReplicated ? c.tp : 1;
      for (std::int64_t count : covered.at(entry.parameter.name)) RC_ASSERT(count == holders);
    }
  }
}

RC_GTEST_PROP(ParameterRuns, MapEveryElementByItsRowAndColumn, ()) {
  const Case c = any_case();
  const Unit unit = unit_at(c.model, *rc::gen::inRange<std::int64_t>(0, unit_count(c.model)));
  const FlatLayout flat = flat_of(c, unit);
  const auto tp_rank = *rc::gen::inRange<std::int64_t>(0, c.tp);
  const auto begin = *rc::gen::inRange<std::int64_t>(0, flat.elements);
  const FlatRange range{begin, *rc::gen::inRange<std::int64_t>(begin, flat.elements + 1)};
  std::int64_t reached = range.begin;
  for_each_run(flat, range, tp_rank, [&](const ParameterRun& run) {
    RC_ASSERT(run.elements > 0);
    RC_ASSERT(run.flat_begin >= reached);
    reached = run.flat_begin + run.elements;
    RC_ASSERT(reached <= range.end);
    const std::int64_t local = run.flat_begin - run.entry->offset;
    RC_ASSERT(local >= 0 && local + run.elements <= run.entry->elements);
    for (std::int64_t i = 0; i < run.elements; ++i) {
      RC_ASSERT(run.parameter_begin + i == whole_index(*run.entry, tp_rank, local + i));
    }
  });
}

TEST(ParameterRuns, LeaveOutTheRowsThatPadTheVocabulary) {
  ModelSpec model = small_model(1);
  model.vocab_size = 5;
  const FlatLayout flat = flat_layout(model, unit_at(model, 0), 4, 1, 4, true);
  // Rows 0-1, 2-3, 4 and nothing.
  for (std::int64_t tp_rank = 0; tp_rank < 4; ++tp_rank) {
    std::int64_t elements = 0;
    for_each_run(flat, {0, flat.elements}, tp_rank,
                 [&](const ParameterRun& run) { elements += run.elements; });
    EXPECT_EQ(elements,
              (std::vector<std::int64_t>{128, 128, 64, 0})[static_cast<std::size_t>(tp_rank)]);
  }
}

TEST(ParameterRuns, OfARowSplitAreTheColumnsOfEachRow) {
  const ModelSpec model = small_model(1);
  const FlatLayout flat = flat_layout(model, {UnitKind::kBlock, 0}, 4, 1, 4, true);
  const FlatEntry* down = flat.find(ParameterRole::kDownWeight);
  ASSERT_NE(down, nullptr);
  std::vector<std::int64_t> begins;
  for_each_run(flat, {down->offset + 10, down->offset + 130}, 3, [&](const ParameterRun& run) {
    begins.push_back(run.parameter_begin);
    begins.push_back(run.elements);
  });
  // down is [64, 256]; rank 3 of 4 holds columns 192 to 255.
  EXPECT_EQ(begins, (std::vector<std::int64_t>{202, 54, 448, 64, 704, 2}));
}

}  // namespace
}  // namespace meshplan::planner

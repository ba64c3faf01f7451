#include "gui/models/problem.h"

#include <gtest/gtest.h>

#include "gui/models/fields.h"

namespace meshplan::gui {
namespace {

TEST(Problem, OfTheExampleIsRight) {
  const Resolution resolution = resolve(exampleInputs());
  ASSERT_TRUE(resolution.problem) << resolution.errors.size();
  EXPECT_EQ(resolution.problem->model.name, "llama-3-8b");
  EXPECT_EQ(planner::world_size(resolution.problem->cluster), 64);
  EXPECT_EQ(resolution.problem->job.param_dtype, common::DataType::kBfloat16);
}

struct Wrong {
  Field field;
  const char* text;
  /// Part of what is said.
  const char* said;
};

void PrintTo(const Wrong& wrong, std::ostream* out) { *out << infoOf(wrong.field).key; }

class WrongInputs : public testing::TestWithParam<Wrong> {};

TEST_P(WrongInputs, AreToldAtTheirField) {
  Inputs inputs = exampleInputs();
  inputs[GetParam().field] = GetParam().text;
  const Resolution resolution = resolve(inputs);
  EXPECT_FALSE(resolution.problem);
  ASSERT_EQ(resolution.errors.size(), 1U);
  EXPECT_EQ(resolution.errors[0].field, GetParam().field);
  EXPECT_TRUE(resolution.errors[0].message.contains(GetParam().said))
      << resolution.errors[0].message.toStdString();
}

INSTANTIATE_TEST_SUITE_P(EachField, WrongInputs,
                         testing::Values(Wrong{Field::kModel, "no-such-model", "llama-3-8b"},
                                         Wrong{Field::kModel, "", "is empty"},
                                         Wrong{Field::kCluster, "no-such-cluster", "h100-sxm"},
                                         Wrong{Field::kNodes, "0", "at least 1"},
                                         Wrong{Field::kNodes, "99999999999999999999", "at least 1"},
                                         Wrong{Field::kGpusPerNode, "-3", "at least 1"},
                                         Wrong{Field::kNetwork, "string", "ib-ndr"},
                                         Wrong{Field::kGpuPrice, "nan", "finite"},
                                         Wrong{Field::kMemoryLimit, "1e6", "at most"},
                                         Wrong{Field::kSeqLength, "8k", "whole number"},
                                         Wrong{Field::kGlobalBatch, "-1", "at least 1"},
                                         Wrong{Field::kMicrobatch, "1,,2", "microbatch_size"},
                                         Wrong{Field::kTp, "two", "tp"},
                                         Wrong{Field::kTp, "0", "at least 1"},
                                         Wrong{Field::kParamDtype, "int4", "bfloat16"},
                                         Wrong{Field::kSharding, "half", "full_shard"},
                                         Wrong{Field::kCheckpointing, "some", "selective"},
                                         Wrong{Field::kSequenceParallel, "maybe", "on or off"}));

TEST(Problem, TellsEverythingThatIsWrongAtOnce) {
  Inputs inputs = exampleInputs();
  inputs[Field::kModel] = "?";
  inputs[Field::kNodes] = "none";
  inputs[Field::kSeqLength] = "";
  EXPECT_EQ(resolve(inputs).errors.size(), 3U);
}

TEST(Fields, KeysAreUniqueAndFound) {
  for (const FieldInfo& info : allFields()) EXPECT_EQ(fieldOfKey(info.key), info.field);
  EXPECT_FALSE(fieldOfKey("nothing"));
}

}  // namespace
}  // namespace meshplan::gui

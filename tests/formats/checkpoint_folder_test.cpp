#include "formats/checkpoint_folder.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "common/file.h"
#include "tests/common/temporary_folder.h"

namespace meshplan::formats {
namespace {

namespace fs = std::filesystem;

std::vector<std::int64_t> steps_in(const fs::path& checkpoints) {
  std::vector<std::int64_t> steps;
  for (const FinishedCheckpoint& checkpoint : list_checkpoints(checkpoints))
    steps.push_back(checkpoint.step);
  return steps;
}

void publish_step(const fs::path& checkpoints, std::int64_t step) {
  const fs::path unfinished = make_unfinished(checkpoints, step);
  common::write_file(unfinished / "optimizer" / "file", "content");
  publish(unfinished, checkpoints / checkpoint_name(step));
}

TEST(CheckpointFolder, NamesOneStepOneWay) {
  EXPECT_EQ(step_of("step-0"), 0);
  EXPECT_EQ(step_of(checkpoint_name(120)), 120);
  for (const char* name : {"step-", "step-01", "step--1", "step-1.tmp-0", "step-1x", "Step-1",
                           "step-99999999999999999999", "step- 1", ""})
    EXPECT_EQ(step_of(name), std::nullopt) << name;
}

TEST(CheckpointFolder, ListsFinishedCheckpointsByStep) {
  const tests::TemporaryFolder folder;
  EXPECT_TRUE(list_checkpoints(folder / "none").empty());
  for (const std::int64_t step : {100, 9, 20}) publish_step(folder.path(), step);
  make_unfinished(folder.path(), 300);
  tests::write_quickly(folder / "step-400", "a file");
  EXPECT_THAT(steps_in(folder.path()), testing::ElementsAre(9, 20, 100));
  EXPECT_EQ(common::read_file(folder / "LATEST", common::Bytes(99)), "step-20\n");
}

TEST(CheckpointFolder, PurgesTheOldestAndWhatIsUnfinished) {
  const tests::TemporaryFolder folder;
  for (const std::int64_t step : {1, 2, 3, 10}) publish_step(folder.path(), step);
  purge(folder.path(), 2);
  EXPECT_THAT(steps_in(folder.path()), testing::ElementsAre(3, 10));
  make_unfinished(folder.path(), 11);
  fs::create_directories(folder.path() / "step-2.purge-00" / "optimizer");
  fs::create_directories(folder.path() / "notes.tmp-1");
  remove_unfinished(folder.path());
  purge(folder.path(), 5);
  EXPECT_EQ(std::distance(fs::directory_iterator(folder.path()), {}), 4)
      << "two checkpoints, LATEST, and what is not ours";
}

TEST(CheckpointFolder, SetsLaterStepsAsideWithoutDeletingThem) {
  const tests::TemporaryFolder folder;
  for (const std::int64_t step : {1, 2, 3}) publish_step(folder.path(), step);
  const auto aside = set_aside_after(folder.path(), 1);
  EXPECT_THAT(steps_in(folder.path()), testing::ElementsAre(1));
  ASSERT_EQ(aside.size(), 2u);
  EXPECT_TRUE(fs::exists(aside[1] / "optimizer" / "file"));
  EXPECT_EQ(set_aside_after(folder.path(), -1).size(), 1u);
  remove_unfinished(folder.path());
  EXPECT_TRUE(fs::exists(aside[0]));
}

}  // namespace
}  // namespace meshplan::formats

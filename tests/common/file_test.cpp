#include "common/file.h"

#include <gtest/gtest.h>

#include <iterator>

#include "tests/common/expect_error.h"
#include "tests/common/temporary_folder.h"

namespace meshplan::common {
namespace {

using tests::expect_error;

std::size_t count_files(const std::filesystem::path& folder) {
  const std::filesystem::directory_iterator items(folder);
  return static_cast<std::size_t>(std::distance(begin(items), end(items)));
}

TEST(File, IsReadBackAsItWasWritten) {
  const tests::TemporaryFolder folder;
  const std::string content("a\0b\n\xff", 5);
  write_file(folder / "new" / "file", content);
  EXPECT_EQ(read_file(folder / "new" / "file", Bytes(5)), content);
}

TEST(File, ReplacingLeavesNoTemporaryBeside) {
  const tests::TemporaryFolder folder;
  write_file(folder / "file", "first, and longer");
  write_file(folder / "file", "second");
  EXPECT_EQ(read_file(folder / "file", kGB), "second");
  EXPECT_EQ(count_files(folder.path()), 1u);
}

TEST(File, AFailedWriteKeepsTheOldContentAndLeavesNoTemporary) {
  const tests::TemporaryFolder folder;
  std::filesystem::create_directories(folder / "target" / "inside");
  expect_error(
      ErrorCode::kIo, [&] { write_file(folder / "target", "text"); }, "target");
  EXPECT_TRUE(std::filesystem::is_directory(folder / "target" / "inside"));
  EXPECT_EQ(count_files(folder.path()), 1u);
}

TEST(File, RefusesToReadMoreThanTheLimit) {
  const tests::TemporaryFolder folder;
  write_file(folder / "file", "123456");
  expect_error(
      ErrorCode::kInvalidInput, [&] { read_file(folder / "file", Bytes(5)); },
      "larger than 5 bytes");
}

TEST(File, SaysWhyItCannotBeRead) {
  const tests::TemporaryFolder folder;
  expect_error(
      ErrorCode::kIo, [&] { read_file(folder / "missing", kGB); }, "missing",
      "No such file or directory");
  expect_error(
      ErrorCode::kIo, [&] { read_file(folder.path(), kGB); }, "is a directory");
}

TEST(File, SaysWhyItsFolderCannotBeMade) {
  const tests::TemporaryFolder folder;
  write_file(folder / "file", "");
  expect_error(
      ErrorCode::kIo, [&] { write_file(folder / "file" / "below", "text"); }, "below", "folder");
}

TEST(File, ADeviceIsWrittenToAndStaysThere) {
  write_file("/dev/null", "content");
  EXPECT_TRUE(std::filesystem::is_character_file("/dev/null"));
  tests::expect_error(
      ErrorCode::kIo, [] { write_file("/dev/full", "content"); }, "/dev/full", "No space left");
  EXPECT_TRUE(std::filesystem::is_character_file("/dev/full"));
}

}  // namespace
}  // namespace meshplan::common

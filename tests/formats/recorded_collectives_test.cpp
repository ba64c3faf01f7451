#include "formats/recorded_collectives.h"

#include <gtest/gtest.h>

#include "common/file.h"
#include "tests/common/expect_error.h"
#include "tests/common/temporary_folder.h"

namespace meshplan::formats {
namespace {

using common::Bytes;

TEST(RecordedCollectives, AreReadBackInOrder) {
  const tests::TemporaryFolder folder;
  const std::vector<RecordedCollective> collectives = {{"all_gather", "dp_shard", Bytes(1024)},
                                                       {"all_reduce", "tp", Bytes(0)},
                                                       {"reduce_scatter", "dp_shard", Bytes(1024)}};
  write_recorded_collectives(folder / "rank-0.jsonl", collectives);
  EXPECT_EQ(read_recorded_collectives(folder / "rank-0.jsonl"), collectives);
  EXPECT_EQ(common::read_file(folder / "rank-0.jsonl", common::kGB).substr(0, 56),
            "{\"kind\":\"all_gather\",\"axis\":\"dp_shard\",\"bytes\":1024}\n{\"k");
}

TEST(RecordedCollectives, OfAnEmptyRunAreNone) {
  const tests::TemporaryFolder folder;
  write_recorded_collectives(folder / "file", {});
  EXPECT_TRUE(read_recorded_collectives(folder / "file").empty());
}

TEST(RecordedCollectives, NameLineAndFieldThatAreWrong) {
  const tests::TemporaryFolder folder;
  const auto refused = [&folder](const char* line, const char* part) {
    tests::write_quickly(folder / "file", std::string(line) + "\n");
    tests::expect_error(
        common::ErrorCode::kInvalidInput, [&] { read_recorded_collectives(folder / "file"); },
        part);
  };
  refused(R"({"kind":"broadcast","axis":"tp","bytes":1})", "file:1.kind: must be all_reduce");
  refused(R"({"kind":"all_reduce","axis":"tp","bytes":-1})", "file:1.bytes");
  refused(R"({"kind":"all_reduce","bytes":1})", "file:1.axis");
  refused(R"({"kind":"all_reduce","axis":"tp","bytes":1,"x":1})", "file:1.x");
}

}  // namespace
}  // namespace meshplan::formats

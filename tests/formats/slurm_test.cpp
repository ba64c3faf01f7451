#include "formats/slurm.h"

#include <gtest/gtest.h>

#include "tests/common/expect_error.h"

namespace meshplan::formats {
namespace {

using common::ErrorCode;
using tests::expect_error;
using Hosts = std::vector<std::string>;

Hosts expand(const std::string& list) { return expand_host_list(list, "SLURM_JOB_NODELIST"); }

TEST(SlurmHosts, AreExpandedInOrder) {
  EXPECT_EQ(expand("login1"), Hosts{"login1"});
  EXPECT_EQ(expand("host[5-7]"), (Hosts{"host5", "host6", "host7"}));
  EXPECT_EQ(expand("gnode[10,20,25,37]"), (Hosts{"gnode10", "gnode20", "gnode25", "gnode37"}));
  EXPECT_EQ(expand("a[3-4,7]x,b"), (Hosts{"a3x", "a4x", "a7x", "b"}));
  EXPECT_EQ(expand("z2 z1,z0"), (Hosts{"z2", "z1", "z0"}));
}

TEST(SlurmHosts, KeepTheirZeros) {
  EXPECT_EQ(expand("n[008-011]"), (Hosts{"n008", "n009", "n010", "n011"}));
  EXPECT_EQ(expand("n[09-100]").front(), "n09");
  EXPECT_EQ(expand("n[09-100]").back(), "n100");
}

TEST(SlurmHosts, HaveSeveralBrackets) {
  EXPECT_EQ(expand("rack[0-1]n[01-02].lan"),
            (Hosts{"rack0n01.lan", "rack0n02.lan", "rack1n01.lan", "rack1n02.lan"}));
}

TEST(SlurmHosts, RefuseWhatNamesNone) {
  for (const char* list : {"", ",", "n[", "n]", "n[1-]", "n[-1]", "n[a]", "n[]", "n[3-1]", "n[[1]]",
                           "n[1-99999999999999999999]"}) {
    expect_error(
        ErrorCode::kInvalidInput, [&] { expand(list); }, "SLURM_JOB_NODELIST");
  }
}

TEST(SlurmHosts, AreBounded) {
  EXPECT_EQ(expand("n[1-65536]").size(), 65536U);
  for (const char* list : {"n[1-65537]", "n[0-999999999999]", "a[1-300]b[1-300]", "n[1-65536],m",
                           "a[1-60000]b[1-60000]c[1-60000]d[1-60000]"}) {
    expect_error(
        ErrorCode::kInvalidInput, [&] { expand(list); }, "more than 65536 hosts");
  }
}

TEST(SlurmTasks, AreExpanded) {
  const auto counts = [](const char* list) { return expand_task_counts(list, "TASKS"); };
  EXPECT_EQ(counts("4"), std::vector<std::int64_t>{4});
  EXPECT_EQ(counts("4(x2)"), (std::vector<std::int64_t>{4, 4}));
  EXPECT_EQ(counts("2(x3),1"), (std::vector<std::int64_t>{2, 2, 2, 1}));
  for (const char* list : {"", "x", "4(x", "4(x)", "4(x2", "4(x0)", "4(x99999999999)", "-1"}) {
    expect_error(
        ErrorCode::kInvalidInput, [&] { counts(list); }, "TASKS");
  }
}

}  // namespace
}  // namespace meshplan::formats

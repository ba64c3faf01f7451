#include "planner/plan/jobs/quoting.h"

#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>

#include <regex>

namespace meshplan::planner {
namespace {

using common::Json;

TEST(Quoting, LeavesPlainWordsAsTheyAre) {
  EXPECT_EQ(shell_word("/a/b-c_d.json"), "/a/b-c_d.json");
  EXPECT_EQ(sbatch_word("--nodes=2"), "--nodes=2");
}

TEST(Quoting, KeepsAnythingElseOneWord) {
  EXPECT_EQ(shell_word(""), "''");
  EXPECT_EQ(shell_word("it's $(id)"), "'it'\\''s $(id)'");
  EXPECT_EQ(shell_word("~"), "'~'");
  EXPECT_EQ(sbatch_word("--job-name=a \"b\" \\ #"), "\"--job-name=a \\\"b\\\" \\\\ #\"");
  EXPECT_EQ(python_text("\"\\"), "\"\\\"\\\\\"");
  EXPECT_EQ(kubernetes_word("$(A) $$(B) $"), "$$(A) $$$$(B) $$");
}

TEST(Quoting, WritesYamlThatReadsAsTheSame) {
  const Json json = {{"name", "a"},
                     {"truth", "yes"},
                     {"number", "12"},
                     {"count", 12},
                     {"empty", Json::object()},
                     {"none", Json::array()},
                     {"text", "a: b # c"},
                     {"lines", "{\n  \"a\": 1\n}\n"},
                     {"list", Json::array({"x", Json{{"k", 1}, {"l", Json::array({2})}}})}};
  EXPECT_EQ(yaml(json),
            "name: a\n"
            "truth: \"yes\"\n"
            "number: \"12\"\n"
            "count: 12\n"
            "empty: {}\n"
            "none: []\n"
            "text: \"a: b # c\"\n"
            "lines: |\n"
            "  {\n"
            "    \"a\": 1\n"
            "  }\n"
            "list:\n"
            "  - x\n"
            "  - k: 1\n"
            "    l:\n"
            "      - 2\n");
}

TEST(Quoting, NamesFilesAndKubernetesObjectsSafely) {
  EXPECT_EQ(safe_name("Llama 3/8B (first)"), "llama-3-8b-first");
  EXPECT_EQ(safe_name("../../etc/passwd"), "etc-passwd");
  EXPECT_EQ(safe_name("8b"), "job-8b");
  EXPECT_EQ(safe_name(""), "job");
}

RC_GTEST_PROP(Quoting, SafeNamesAreLabelsOfRfc1035, (const std::string& name)) {
  RC_ASSERT(std::regex_match(safe_name(name), std::regex("[a-z]([-a-z0-9]{0,38}[a-z0-9])?")));
}

}  // namespace
}  // namespace meshplan::planner

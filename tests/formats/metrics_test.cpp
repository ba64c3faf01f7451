#include "formats/metrics.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <string>
#include <vector>

#include "common/file.h"
#include "formats/json_lines.h"
#include "tests/common/expect_error.h"
#include "tests/common/temporary_folder.h"

namespace meshplan::formats {
namespace {

using common::Bytes;
using common::ErrorCode;
using common::Seconds;

constexpr const char* kLine =
    R"({"step":3,"epoch":1,"loss":2.25,"grad_norm":0.1,"learning_rate":0.001,"step_time_s":0.5,)"
    R"("tokens_per_second":512.0,"mfu":0.5,"data_wait_share":0.25,"peak_memory_bytes":1048576,)"
    R"("memory_active_bytes":1024,"memory_reserved_bytes":2048})";

StepMetrics step_3() {
  return {3,   1,    2.25,           0.1,         1e-3,       Seconds(0.5), 512,
          0.5, 0.25, Bytes(1 << 20), Bytes(1024), Bytes(2048)};
}

/// metrics.jsonl, opened and continued.
class MetricsWriter {
 public:
  explicit MetricsWriter(const std::filesystem::path& path) : lines_(path) {}
  void append(const StepMetrics& metrics) { lines_.append(to_json(metrics)); }

 private:
  JsonLinesWriter lines_;
};

TEST(Metrics, AStepIsOneLineWrittenAtOnce) {
  const tests::TemporaryFolder folder;
  const auto path = folder / "run" / "metrics.jsonl";
  MetricsWriter writer(path);
  writer.append(step_3());
  EXPECT_EQ(common::read_file(path, common::kGB), std::string(kLine) + "\n");
  writer.append(step_3());
  EXPECT_EQ(common::read_file(path, common::kGB), std::string(kLine) + "\n" + kLine + "\n");
}

TEST(Metrics, AreReadBackExactly) {
  const tests::TemporaryFolder folder;
  StepMetrics metrics = step_3();
  metrics.loss = 1.0 / 3;
  metrics.grad_norm = 1e-300;
  MetricsWriter(folder / "metrics.jsonl").append(metrics);
  MetricsWriter(folder / "metrics.jsonl").append(step_3());
  EXPECT_EQ(read_metrics(folder / "metrics.jsonl"), (std::vector{metrics, step_3()}));
}

TEST(Metrics, AValidationLossIsOnTheStepsThatHaveOne) {
  const tests::TemporaryFolder folder;
  StepMetrics metrics = step_3();
  metrics.validation_loss = 2.5;
  EXPECT_EQ(to_json(metrics)["validation_loss"], 2.5);
  EXPECT_FALSE(to_json(step_3()).contains("validation_loss"));
  MetricsWriter(folder / "metrics.jsonl").append(metrics);
  EXPECT_EQ(read_metrics(folder / "metrics.jsonl"), std::vector{metrics});
}

TEST(Metrics, AnEpochHasItsAverageLoss) {
  EXPECT_EQ(to_json(EpochMetrics{2, 10, 3.5, Seconds(1.5)}).dump(),
            R"({"epoch":2,"steps":10,"loss":3.5,"time_s":1.5})");
}

TEST(Metrics, NumbersThatAreNotFiniteAreNull) {
  const tests::TemporaryFolder folder;
  StepMetrics metrics = step_3();
  metrics.loss = std::numeric_limits<double>::quiet_NaN();
  metrics.grad_norm = std::numeric_limits<double>::infinity();
  MetricsWriter(folder / "metrics.jsonl").append(metrics);
  const std::string text = common::read_file(folder / "metrics.jsonl", common::kGB);
  EXPECT_NE(text.find(R"("loss":null,"grad_norm":null,)"), std::string::npos) << text;
  const auto steps = read_metrics(folder / "metrics.jsonl");
  ASSERT_EQ(steps.size(), 1u);
  EXPECT_TRUE(std::isnan(steps[0].loss));
  EXPECT_TRUE(std::isnan(steps[0].grad_norm));
  EXPECT_EQ(steps[0].learning_rate, 1e-3);
}

TEST(Metrics, AnUnfinishedLastLineIsLeftOutAndThenCutOff) {
  const tests::TemporaryFolder folder;
  const auto path = folder / "metrics.jsonl";
  tests::write_quickly(path, std::string(kLine) + "\n{\"step\":4,");
  EXPECT_EQ(read_metrics(path), std::vector{step_3()});
  MetricsWriter(path).append(step_3());
  EXPECT_EQ(read_metrics(path), (std::vector{step_3(), step_3()}));
}

TEST(Metrics, NamesLineAndFieldThatAreWrong) {
  const tests::TemporaryFolder folder;
  const auto path = folder / "metrics.jsonl";
  const auto refused = [&path](const std::string& line, const char* part) {
    tests::write_quickly(path, std::string(kLine) + "\n" + line + "\n");
    tests::expect_error(
        ErrorCode::kInvalidInput, [&path] { read_metrics(path); }, part);
  };
  refused("{", "metrics.jsonl:2");
  refused("", "metrics.jsonl:2");
  refused("[]", "metrics.jsonl:2: must be a JSON object");
  refused("{\"step\":-1}", "metrics.jsonl:2.step");
  refused(R"({"step":3,"epoch":1,"loss":"2"})", "metrics.jsonl:2.loss");
  refused(R"({"step":3,"epoch":1})", "metrics.jsonl:2.loss: is missing");
  std::string extra = kLine;
  refused(extra.insert(1, R"("more":1,)"), "metrics.jsonl:2.more: unknown key");
}

TEST(Metrics, SaysWhyItCannotWriteOrRead) {
  const tests::TemporaryFolder folder;
  tests::write_quickly(folder / "file", "");
  tests::expect_error(
      ErrorCode::kIo, [&] { MetricsWriter writer(folder / "file" / "metrics.jsonl"); }, "file");
  tests::expect_error(
      ErrorCode::kIo, [&] { read_metrics(folder / "none.jsonl"); }, "none.jsonl");
  // A device that is always full stands for a full disk.
  if (std::filesystem::exists("/dev/full")) {
    std::filesystem::create_symlink("/dev/full", folder / "full.jsonl");
    tests::expect_error(
        ErrorCode::kIo, [&] { MetricsWriter(folder / "full.jsonl").append(step_3()); },
        "No space left");
  }
}

}  // namespace
}  // namespace meshplan::formats

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "cli/comparison.h"
#include "formats/chrome_trace.h"
#include "formats/json_lines.h"
#include "formats/metrics.h"
#include "formats/run_folder.h"
#include "planner/program/expand.h"
#include "tests/cli/running.h"
#include "tests/common/temporary_folder.h"

namespace meshplan::tests {
namespace {

using formats::RecordedCollective;
using testing::HasSubstr;

/// The folder of a run that went exactly as planned, on 2 x 2 ranks.
class CompareCommand : public testing::Test {
 protected:
  void SetUp() override {
    const Ended ended =
        meshplan({"plan", "--model", "demo-qwen2", "--cluster", "local-cpu", "--seq-length", "128",
                  "--microbatch-size", "2", "--dp-shard", "2", "--tp", "2", "-o", plan_file_});
    ASSERT_EQ(ended.exit_code, 0) << ended.err;
    plan_ = planner::load_plan(plan_file_);
    planner::save_plan(plan_, formats::plan_path(run_));
    for (std::int64_t rank = 0; rank < 4; ++rank) {
      record(rank, planned());
      formats::write_summary(
          run_, {.rank = rank,
                 .steps = 2,
                 .peak_allocated = plan_.estimate.memory.peak_allocated + common::Bytes(rank),
                 .peak_communication = common::Bytes(1 << 20),
                 .median_step_time = 2.0 * plan_.estimate.step_time});
    }
    formats::JsonLinesWriter metrics(formats::metrics_path(run_));
    metrics.append(
        to_json(formats::StepMetrics{.step = 0, .loss = 7.5, .step_time = common::Seconds(1)}));
    metrics.append(
        to_json(formats::StepMetrics{.step = 1, .loss = 6.25, .step_time = common::Seconds(1)}));
  }

  std::vector<RecordedCollective> planned() const {
    const planner::StepContext context =
        planner::make_step_context(plan_.model, plan_.job, plan_.layout, planner::DeviceKind::kCpu);
    std::vector<RecordedCollective> collectives;
    for (const auto& instruction :
         unroll(planner::build_program(plan_.model, plan_.job, plan_.layout))) {
      for (const planner::Operation& operation : expand(context, instruction)) {
        if (operation.kind != planner::OperationKind::kCollective) continue;
        collectives.push_back(
            {to_string(operation.collective), to_string(operation.axis), operation.bytes});
      }
    }
    return collectives;
  }

  void record(std::int64_t rank, const std::vector<RecordedCollective>& collectives) {
    formats::write_recorded_collectives(formats::collectives_path(run_, rank), collectives);
  }

  Ended compare(bool json = true) const {
    std::vector<std::string> arguments = {"compare", plan_file_, run_};
    if (json) arguments.emplace_back("--json");
    return meshplan(arguments);
  }

  TemporaryFolder folder_;
  std::string plan_file_ = folder_ / "plan.json";
  std::filesystem::path run_ = folder_ / "run";
  planner::Plan plan_;
};

TEST_F(CompareCommand, FindsNoDifferenceInARunAsPlanned) {
  const Ended ended = compare();
  ASSERT_EQ(ended.exit_code, 0) << ended.err;
  const common::Json json = json_of(ended);
  EXPECT_EQ(json["collectives"]["equal"], true);
  EXPECT_EQ(json["collectives"]["planned"], planned().size());
  for (const char* axis : {"tp", "dp_shard"}) {
    EXPECT_GT(json["communication"][axis]["measured_bytes_per_rank"], 0);
    EXPECT_EQ(json["communication"][axis]["difference_percent"], 0.0);
    EXPECT_EQ(json["communication"][axis]["predicted_operations"],
              json["communication"][axis]["measured_operations"]);
  }
  EXPECT_EQ(json["memory"]["measured_peak_allocated_bytes"],
            plan_.estimate.memory.peak_allocated.value + 3);
  EXPECT_EQ(json["memory"]["measured_peak_communication_bytes"], 1 << 20);
  EXPECT_NEAR(json["step_time"]["difference_percent"], 100, 1e-9);
  EXPECT_EQ(json["loss"]["first"], 7.5);
  EXPECT_EQ(json["loss"]["last"], 6.25);
  const Ended text = compare(false);
  EXPECT_THAT(text.out, HasSubstr("+0.0 %"));
  EXPECT_THAT(text.out, HasSubstr("of the program on each of 4 ranks"));
  EXPECT_THAT(text.out, HasSubstr("loss: 7.5000 to 6.2500 in 2 steps"));
}

TEST_F(CompareCommand, NamesTheFirstCollectiveThatIsNotThePrograms) {
  std::vector<RecordedCollective> changed = planned();
  changed[5].bytes += common::Bytes(4);
  record(2, changed);
  const common::Json json = json_of(compare());
  EXPECT_EQ(json["collectives"]["equal"], false);
  const common::Json& difference = json["collectives"]["first_difference"];
  EXPECT_EQ(difference["rank"], 2);
  EXPECT_EQ(difference["index"], 5);
  EXPECT_EQ(difference["planned"]["bytes"], changed[5].bytes.value - 4);
  EXPECT_EQ(difference["recorded"]["bytes"], changed[5].bytes.value);
  EXPECT_EQ(
      json["communication"][changed[5].axis]["measured_bytes_per_rank"],
      json["communication"][changed[5].axis]["predicted_bytes_per_rank"].get<std::int64_t>() + 4);
  EXPECT_THAT(compare(false).out, HasSubstr("NOT those of the program; rank 2, number 6"));
}

TEST_F(CompareCommand, TellsAnEqualSumFromAnEqualOrder) {
  std::vector<RecordedCollective> changed = planned();
  std::rotate(changed.begin(), changed.begin() + 1, changed.end());
  record(1, changed);
  const common::Json json = json_of(compare());
  EXPECT_EQ(json["communication"]["tp"]["difference_percent"], 0.0);
  EXPECT_EQ(json["collectives"]["equal"], false);
  changed = planned();
  changed.pop_back();
  record(1, changed);
  EXPECT_TRUE(json_of(compare())["collectives"]["first_difference"]["recorded"].is_null());
}

TEST_F(CompareCommand, NamesTheFileThatIsMissing) {
  const std::filesystem::path collectives = formats::collectives_path(run_, 3);
  std::filesystem::remove(collectives);
  const Ended ended = compare();
  EXPECT_EQ(ended.exit_code, 3);
  EXPECT_THAT(ended.err, HasSubstr(collectives.string() + ": is missing"));
  EXPECT_EQ(meshplan({"compare", plan_file_, folder_ / "none"}).exit_code, 3);
}

TEST_F(CompareCommand, RefusesARunOfAnotherPlan) {
  planner::Plan other = plan_;
  other.layout.microbatch_size = 1;
  planner::save_plan(other, formats::plan_path(run_));
  const Ended ended = compare();
  EXPECT_EQ(ended.exit_code, 3);
  EXPECT_THAT(ended.err, HasSubstr("of another layout"));
}

/// A trace as the executor writes it, each instruction a microsecond long but for the last, which
/// is 3 ms longer than all others.
TEST_F(CompareCommand, LaysTheMeasuredStepOverThePredictedOne) {
  formats::Trace measured;
  measured.ranks = {1};
  std::int64_t start = 5'000'000;
  for (const auto& instruction :
       unroll(planner::build_program(plan_.model, plan_.job, plan_.layout))) {
    measured.slices.push_back({.pid = 1,
                               .tid = formats::kComputeTrack,
                               .name = planner::describe(plan_.model, instruction),
                               .category = "instruction",
                               .start_ps = start,
                               .duration_ps = 1'000'000,
                               .arguments = {{"microbatch", instruction.microbatch}}});
    start += 1'000'000;
  }
  measured.slices.back().duration_ps = 30'000'000'000'000;
  formats::write_chrome_trace(formats::trace_path(run_, 1), measured);
  const std::string both = folder_ / "both.json";
  const Ended ended =
      meshplan({"compare", plan_file_, run_, "--trace", both, "--trace-ranks", "1", "--json"});
  ASSERT_EQ(ended.exit_code, 0) << ended.err;
  const common::Json worst = json_of(ended)["instructions"][0];
  EXPECT_EQ(worst["instruction"], "report_loss");
  EXPECT_NEAR(worst["measured_s"], 30, 1e-9);
  EXPECT_GT(worst["ratio"], 1);
  EXPECT_EQ(json_of(ended)["instructions"].size(), measured.slices.size());
  const formats::Trace trace = formats::read_chrome_trace(both);
  EXPECT_THAT(trace.ranks, testing::ElementsAre(1, 5));
  EXPECT_EQ(trace.names.at(1), "rank 1, predicted");
  EXPECT_EQ(trace.names.at(5), "rank 1, measured");
  EXPECT_THAT(formats::check_trace_nesting(trace), testing::IsEmpty());
  EXPECT_THAT(trace.slices, testing::Contains(testing::Truly([](const auto& slice) {
                return slice.pid == 5 && slice.start_ps == 0;
              })));
  const Ended text = meshplan({"compare", plan_file_, run_, "--trace", both, "--trace-ranks", "1"});
  EXPECT_THAT(text.out, HasSubstr("instructions of rank 1"));
  EXPECT_THAT(text.out, HasSubstr("all instructions"));
}

TEST_F(CompareCommand, RefusesTracesThatAreNotThePlans) {
  const std::string both = folder_ / "both.json";
  const auto compared = [&] { return meshplan({"compare", plan_file_, run_, "--trace", both}); };
  EXPECT_EQ(compared().exit_code, 3);
  EXPECT_THAT(compared().err, HasSubstr("is missing"));
  formats::Trace short_trace;
  short_trace.ranks = {0};
  formats::write_chrome_trace(formats::trace_path(run_, 0), short_trace);
  EXPECT_EQ(compared().exit_code, 3);
  EXPECT_THAT(compared().err, HasSubstr("has 0 instructions, and the plan's program"));
}

}  // namespace
}  // namespace meshplan::tests

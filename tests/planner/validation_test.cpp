#include "planner/validate/validation.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdio>

#include "planner/validate/statistics.h"
#include "tests/common/expect_error.h"

namespace meshplan::planner {
namespace {

using common::ErrorCode;
using formats::CsvTable;
using testing::HasSubstr;

constexpr const char* kMeasurements = MESHPLAN_SOURCE_DIR "/catalog/measurements/";

std::vector<ValidatedRun> validated(const char* file) {
  return validate(read_measured_runs(CsvTable::read(std::string(kMeasurements) + file)));
}

const ValidationSummary& training_runs() {
  static const ValidationSummary summary = summarize(validated("training_runs.csv"));
  return summary;
}

const ValidationSummary& layout_sweep() {
  static const ValidationSummary summary = summarize(validated("layout_sweep_h100.csv"));
  return summary;
}

void expect_median(const char* runtime, const char* quantity, double bar) {
  const ErrorStatistics& s = training_runs().runtimes.at(runtime).at(quantity);
  std::printf("%-16s %-28s %3zu rows, median %.2f %%, bar %.2f %%\n", runtime, quantity, s.rows,
              100 * s.median, 100 * bar);
  EXPECT_GT(s.rows, 0U);
  EXPECT_LE(s.median, bar) << runtime << " " << quantity;
}

TEST(Validation, ThroughputOfPublishedRunsIsWithinTheBars) {
  expect_median("composer_fsdp1", "throughput", 0.03);
  expect_median("megatron", "throughput", 0.05);
  expect_median("torch_eager", "throughput", 0.05);
  expect_median("torch_compile", "throughput", 0.06);
  expect_median("torch_aot_eager", "throughput", 0.06);
  expect_median("nanotron", "throughput, up to 256 GPUs", 0.06);
}

TEST(Validation, MemoryOfPublishedRunsIsWithinTheBars) {
  expect_median("megatron", "memory allocated", 0.04);
  expect_median("torch_compile", "memory allocated", 0.04);
  expect_median("torch_compile", "memory reserved", 0.05);
  expect_median("torch_eager", "memory reserved", 0.05);
  expect_median("torch_aot_eager", "memory reserved", 0.05);
  expect_median("nanotron", "memory, tp up to 4", 0.05);
}

TEST(Validation, FewRunsThatRanArePredictedNotToFit) {
  std::size_t ran = 0;
  std::size_t over = 0;
  for (const auto& [runtime, counts] : training_runs().fits) {
    ran += counts.ran;
    over += counts.ran_over;
  }
  EXPECT_GT(ran, 500U);
  EXPECT_LE(static_cast<double>(over), 0.02 * static_cast<double>(ran));
}

TEST(Validation, KorthikantiPointsAreBetterThanTheBestAnalyticalModel) {
  ASSERT_TRUE(training_runs().korthikanti.has_value());
  EXPECT_LT(training_runs().korthikanti->mean, 0.0365);
  EXPECT_LT(training_runs().korthikanti->worst, 0.0887);
}

TEST(Validation, CountsWhatItLeavesOut) {
  const ErrorStatistics& composer = training_runs().runtimes.at("composer_fsdp1").at("throughput");
  EXPECT_EQ(composer.rows, 124U);
  EXPECT_EQ(composer.doubtful, 3U);
  EXPECT_EQ(training_runs().skipped.at("microbatch_size is not published"), 10U);
  EXPECT_EQ(training_runs().runtimes.at("megatron").at("throughput").skipped, 10U);
}

TEST(Validation, ChoosesLayoutsOfTheSweepWithLittleRegret) {
  const std::vector<ChoiceSummary>& summaries = layout_sweep().choice_summaries;
  ASSERT_EQ(summaries.size(), 3U);
  for (const ChoiceSummary& s : summaries) {
    std::printf("up to %lld GPUs: regret median %.2f %%, top three worst %.2f %%, rank %.3f\n",
                static_cast<long long>(s.gpus), 100 * s.median_regret, 100 * s.worst_top_three,
                s.median_spearman);
  }
  EXPECT_LE(summaries[0].median_regret, 0.02);
  EXPECT_LE(summaries[1].median_regret, 0.04);
  EXPECT_LE(summaries[1].worst_top_three, 0.10);
  EXPECT_GE(summaries[1].median_spearman, 0.85);
  EXPECT_GE(summaries[2].median_spearman, 0.85);
}

TEST(Validation, TellsLayoutsThatFailFromThoseThatRun) {
  const FitCounts& counts = layout_sweep().fits.at("nanotron");
  EXPECT_GE(static_cast<double>(counts.failed_short_pipeline_over),
            0.8 * static_cast<double>(counts.failed_short_pipeline));
  EXPECT_LE(static_cast<double>(counts.ran_over), 0.01 * static_cast<double>(counts.ran));
}

/// A sound row, each field by its column.
std::map<std::string, std::string> sound_row() {
  return {{"id", "x-1"},
          {"source", "here"},
          {"runtime", "torch_eager"},
          {"model", "m"},
          {"layers", "32"},
          {"hidden_size", "4096"},
          {"intermediate_size", "14336"},
          {"gated_mlp", "yes"},
          {"num_attention_heads", "32"},
          {"num_key_value_heads", "8"},
          {"vocab_size", "128256"},
          {"tied_embeddings", "no"},
          {"gpu", "h100-sxm"},
          {"gpus_per_node", "8"},
          {"inter_node", ""},
          {"world_size", "8"},
          {"dp_replicate", "1"},
          {"dp_shard", "8"},
          {"tp", "1"},
          {"pp", "1"},
          {"cp", "1"},
          {"virtual_stages", ""},
          {"sharding", "full_shard"},
          {"sequence_parallel", "no"},
          {"async_tp", "no"},
          {"microbatch_size", "1"},
          {"accumulation", "1"},
          {"seq_length", "8192"},
          {"matmul_precision", "bf16"},
          {"state_bytes_per_parameter", "16"},
          {"activation_checkpointing", "none"},
          {"measured_peak_memory_gib", "50"},
          {"memory_kind", "reserved"},
          {"measured_tokens_per_s_per_gpu", "6000"},
          {"measured_tflops_per_gpu", ""},
          {"measured_step_time_s", ""},
          {"status", "ok"},
          {"doubt", ""},
          {"remarks", ""}};
}

CsvTable table_of(const std::map<std::string, std::string>& row) {
  std::string header;
  std::string values;
  for (const auto& [column, value] : row) {
    header += (header.empty() ? "" : ",") + column;
    values += (header == column ? "" : ",") + value;
  }
  return CsvTable::parse(header + "\n" + values + "\n", "runs.csv");
}

CsvTable with(const std::string& column, const std::string& value) {
  auto row = sound_row();
  row.at(column) = value;
  return table_of(row);
}

template <class... Parts>
void refused(const std::string& column, const std::string& value, const Parts&... parts) {
  const CsvTable table = with(column, value);
  tests::expect_error(
      ErrorCode::kInvalidInput, [&] { read_measured_runs(table); },
      "runs.csv:2:", "(" + column + ")", parts...);
}

std::string skipped(const std::string& column, const std::string& value) {
  return read_measured_runs(with(column, value)).at(0).skipped;
}

TEST(MeasuredRun, ReadsASoundRow) {
  const MeasuredRun run = read_measured_runs(table_of(sound_row())).at(0);
  ASSERT_TRUE(run.run.has_value()) << run.skipped;
  EXPECT_EQ(run.run->mesh.sizes[Axis::kDpShard], 8);
  EXPECT_EQ(run.run->model.head_dim, 128);
  EXPECT_EQ(run.memory_kind, MemoryKind::kReserved);
}

TEST(MeasuredRun, RefusesATableWithoutAColumn) {
  auto row = sound_row();
  row.erase("hidden_size");
  const CsvTable table = table_of(row);
  tests::expect_error(
      ErrorCode::kInvalidInput, [&] { read_measured_runs(table); }, "runs.csv:1:1",
      "column 'hidden_size' is missing");
}

TEST(MeasuredRun, TakesColumnsOfNamesAndMeasurementsAsEmptyWhereTheyAreMissing) {
  auto row = sound_row();
  for (const char* column : {"source", "model", "remarks", "status", "doubt", "inter_node", "cp",
                             "virtual_stages", "async_tp", "measured_step_time_s"})
    row.erase(column);
  const MeasuredRun run = read_measured_runs(table_of(row)).at(0);
  ASSERT_TRUE(run.run.has_value()) << run.skipped;
  EXPECT_EQ(run.status, "ok");
  EXPECT_TRUE(validate({run}).at(0).throughput_error.has_value());
}

TEST(MeasuredRun, CountsRowsOfASweepThatLackASetting) {
  const std::string header =
      "model_params_b_label,status,layers,hidden,ffn_hidden,heads,kv_heads,vocab,tie_embeddings,"
      "gpus,micro_batch,grad_accum,dp,pp,tp,zero_stage,seq_len,tokens_per_s_per_gpu,gpu_mem_gib\n";
  const std::string row = "8.86,ok,32,4096,14336,32,8,131072,False,16,2,16,8,1,2,1,4096,7000,50\n";
  const auto runs = read_measured_runs(CsvTable::parse(
      header + row + "8.86,ok,32,,14336,32,8,131072,False,16,2,16,8,1,2,1,4096,,\n" +
          "8.86,failed,32,4096,14336,32,8,131072,False,16,2,16,8,1,2,,4096,,\n",
      "sweep.csv"));
  ASSERT_EQ(runs.size(), 3U);
  EXPECT_TRUE(runs[0].run.has_value()) << runs[0].skipped;
  EXPECT_EQ(runs[1].skipped, "hidden is not published");
  EXPECT_EQ(runs[2].skipped, "zero_stage is not published");
}

TEST(MeasuredRun, RefusesWhatIsNotANumber) {
  for (const char* text : {"x", "12x", "nan", "inf", "-", "0x10", " 8", "1e999"})
    refused("hidden_size", text);
  refused("hidden_size", "4096.5", "not a whole number");
  refused("measured_tokens_per_s_per_gpu", "fast", "'fast' is not a number");
}

TEST(MeasuredRun, RefusesNumbersOutOfRange) {
  refused("layers", "0", "1 to 16384 is allowed");
  refused("layers", "1e9", "is out of range");
  refused("hidden_size", "-4096", "is out of range");
  refused("vocab_size", "1e30", "is out of range");
  refused("world_size", "99999999999999999999", "is out of range");
  refused("measured_peak_memory_gib", "-1", "is out of range");
  refused("num_attention_heads", "1e8", "1 to 16777216 is allowed");
}

TEST(MeasuredRun, RefusesMoreTokensThanFit) {
  auto row = sound_row();
  row.at("microbatch_size") = "4294967296";
  row.at("seq_length") = "4294967296";
  const CsvTable table = table_of(row);
  tests::expect_error(
      ErrorCode::kInvalidInput, [&] { read_measured_runs(table); }, "(microbatch_size)",
      "tokens are the most");
}

TEST(MeasuredRun, RefusesAFlagThatIsNeitherYesNorNo) {
  refused("gated_mlp", "maybe", "neither yes nor no");
}

TEST(MeasuredRun, NamesWhyARowIsNotPriced) {
  EXPECT_EQ(skipped("gpu", "tpu-v5"), "GPU 'tpu-v5' is not in the catalog");
  EXPECT_EQ(skipped("runtime", "jax"), "runtime 'jax' is not known");
  EXPECT_EQ(skipped("inter_node", "carrier-pigeon"), "network 'carrier-pigeon' is not known");
  EXPECT_EQ(skipped("seq_length", ""), "seq_length is not published");
  EXPECT_EQ(skipped("layers", ""), "layers is not published");
  EXPECT_EQ(skipped("gpus_per_node", ""), "gpus_per_node is not published");
  EXPECT_EQ(skipped("num_key_value_heads", "64"),
            "32 query heads and 64 key-value heads of hidden size 4096");
  EXPECT_EQ(skipped("accumulation", ""), "accumulation is not published");
  EXPECT_EQ(skipped("sharding", "zero9"), "sharding 'zero9' is not known");
  EXPECT_EQ(skipped("tp", "2"), "pp x dp x cp x tp = 16, but world_size is 8");
  EXPECT_THAT(skipped("tp", "1073741824"), HasSubstr("too many ranks"));
}

TEST(MeasuredRun, TakesTheDataParallelSizeThatTheWorldLeaves) {
  auto row = sound_row();
  row.at("dp_replicate") = row.at("dp_shard") = row.at("sharding") = "";
  row.at("tp") = "2";
  const MeasuredRun sharded = read_measured_runs(table_of(row)).at(0);
  ASSERT_TRUE(sharded.run.has_value()) << sharded.skipped;
  EXPECT_EQ(sharded.run->mesh.sizes[Axis::kDpShard], 4);
  EXPECT_EQ(sharded.run->sharding, Sharding::kFullShard);
  row.at("sharding") = "shard_optimizer";
  EXPECT_EQ(read_measured_runs(table_of(row)).at(0).run->mesh.sizes[Axis::kDpReplicate], 4);
  row.at("tp") = "3";
  EXPECT_EQ(read_measured_runs(table_of(row)).at(0).skipped,
            "pp x dp x cp x tp = 3, but world_size is 8");
}

TEST(MeasuredRun, KnowsWhichPublishedRunsAreOlderThanFusedAttention) {
  auto row = sound_row();
  row.at("runtime") = "megatron";
  EXPECT_TRUE(read_measured_runs(table_of(row)).at(0).run->fused_attention);
  row.at("gpu") = "a100-80gb-sxm";
  EXPECT_FALSE(read_measured_runs(table_of(row)).at(0).run->fused_attention);
}

TEST(MeasuredRun, PricesEveryValueOfTheVocabulary) {
  const std::map<std::string, std::vector<std::string>> vocabulary = {
      {"runtime",
       {"meshplan", "torch_eager", "torch_compile", "torch_aot_eager", "composer_fsdp1", "nanotron",
        "megatron"}},
      {"gpu",
       {"a100-40gb-sxm", "a100-80gb-sxm", "h100-sxm", "h100-96gb-500w", "h200-sxm", "b200-sxm",
        "gb200", "mi300x", "l40s", "rtx-4090"}},
      {"inter_node",
       {"", "efa-3200", "efa-400", "roce-1600", "roce-400-per-gpu", "ib-hdr-200-per-gpu",
        "ib-ndr-400-per-gpu", "ib-xdr-800-per-gpu"}},
      {"sharding", {"", "full_shard", "shard_grad_op", "shard_optimizer", "no_shard"}},
      {"sequence_parallel", {"", "yes", "no"}},
      {"async_tp", {"", "yes", "no"}},
      {"matmul_precision", {"", "bf16", "fp16", "fp8"}},
      {"activation_checkpointing",
       {"", "none", "full", "selective_op", "selective_attention", "selective_graph",
        "selective_layer_2"}},
      {"memory_kind", {"", "allocated", "reserved", "unstated"}},
      {"state_bytes_per_parameter", {"", "8", "16", "18", "20"}},
      {"num_attention_heads", {""}},
      {"num_key_value_heads", {""}},
      {"virtual_stages", {"", "0", "2"}}};
  for (const auto& [column, values] : vocabulary) {
    for (const std::string& value : values)
      EXPECT_EQ(skipped(column, value), "") << column << " '" << value << "'";
  }
}

TEST(MeasuredRun, LeavesSmallModelsThroughputOutForDoubt) {
  auto row = sound_row();
  row.at("layers") = "2";
  row.at("hidden_size") = "512";
  row.at("vocab_size") = "1000";
  const MeasuredRun run = read_measured_runs(table_of(row)).at(0);
  EXPECT_THAT(run.throughput_doubt, HasSubstr("100 M parameters"));
  EXPECT_EQ(run.memory_doubt, "");
}

TEST(Validation, JudgesAMeasurementOfZeroAsNone) {
  const auto runs = validate(read_measured_runs(with("measured_tokens_per_s_per_gpu", "0")));
  EXPECT_FALSE(runs.at(0).throughput_error.has_value());
}

TEST(Validation, JsonHasEachRowsErrorsAndReasons) {
  auto row = sound_row();
  row.at("gpu") = "tpu";
  const auto runs = validate(read_measured_runs(table_of(row)));
  const common::Json json = to_json(runs, summarize(runs));
  const common::Json& entry = json["rows"][0];
  EXPECT_EQ(entry["id"], "x-1");
  EXPECT_TRUE(entry["throughput_error"].is_null());
  EXPECT_TRUE(entry["memory_error"].is_null());
  EXPECT_TRUE(entry["predicted"].is_null());
  EXPECT_EQ(entry["skipped"], "GPU 'tpu' is not in the catalog");
  EXPECT_EQ(json["summary"]["skipped"]["GPU 'tpu' is not in the catalog"], 1);
}

TEST(Statistics, QuantilesLieBetweenValues) {
  EXPECT_DOUBLE_EQ(quantile({3, 1, 2}, 0.5), 2);
  EXPECT_DOUBLE_EQ(quantile({1, 2}, 0.5), 1.5);
  EXPECT_DOUBLE_EQ(quantile({4}, 0.75), 4);
}

TEST(Statistics, SpearmanRanksTiesAlike) {
  EXPECT_DOUBLE_EQ(spearman({1, 2, 3}, {10, 20, 30}), 1);
  EXPECT_DOUBLE_EQ(spearman({1, 2, 3}, {3, 2, 1}), -1);
  EXPECT_DOUBLE_EQ(spearman({1, 1}, {1, 2}), 0);
  EXPECT_NEAR(spearman({1, 2, 2, 3}, {1, 2, 3, 4}), 0.9486832980505138, 1e-12);
}

}  // namespace
}  // namespace meshplan::planner

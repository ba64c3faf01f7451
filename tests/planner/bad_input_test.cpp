// Fields of model, cluster, job and layout that are out of range: each message names the field, the
// value, what is allowed, and so what to do; and all of them are said at once.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <functional>

#include "common/error.h"
#include "planner/layout/rules.h"
#include "tests/planner/model_configs.h"
#include "tests/planner/plans.h"

namespace meshplan::planner {
namespace {

using common::Json;
using testing::HasSubstr;

/// A field at `pointer` of a file, a value that it must not have, and what is allowed instead.
struct BadField {
  const char* pointer;
  Json value;
  const char* allowed;
};

std::string refusal(const std::function<void()>& read) {
  try {
    read();
  } catch (const common::Error& error) {
    EXPECT_EQ(error.exit_code(), 3) << error.what();
    return error.what();
  }
  return "";
}

/// Spoils one field at a time, and then all of them at once.
void expect_refused(const Json& valid, const std::vector<BadField>& fields,
                    const std::function<void(const Json&)>& read) {
  ASSERT_EQ(refusal([&] { read(valid); }), "");
  Json all = valid;
  for (const BadField& field : fields) {
    Json one = valid;
    const Json::json_pointer pointer(field.pointer);
    one[pointer] = field.value;
    all[pointer] = field.value;
    const std::string message = refusal([&] { read(one); });
    EXPECT_THAT(message, HasSubstr(pointer.back())) << field.pointer;
    const std::string value =
        field.value.is_string() ? field.value.get<std::string>() : field.value.dump();
    EXPECT_THAT(message, HasSubstr(value)) << field.pointer;
    EXPECT_THAT(message, HasSubstr(field.allowed)) << field.pointer;
  }
  const std::string together = refusal([&] { read(all); });
  for (const BadField& field : fields) {
    EXPECT_THAT(together, HasSubstr(Json::json_pointer(field.pointer).back())) << field.pointer;
    EXPECT_THAT(together, HasSubstr(field.allowed)) << field.pointer;
  }
}

TEST(BadInput, OfAModelNamesValueAndWhatIsAllowed) {
  const Json valid = with(minimal("qwen3_moe"), {{"num_key_value_heads", 2}, {"head_dim", 16}});
  expect_refused(valid,
                 {{"/hidden_size", 0, "from 1 to 2147483648"},
                  {"/intermediate_size", -1, "from 1 to 2147483648"},
                  {"/num_hidden_layers", 200'000, "from 1 to 100000"},
                  {"/vocab_size", "many", "an integer from 1 to 2147483648"},
                  {"/max_position_embeddings", 1.5, "an integer from 1 to 2147483648"},
                  {"/num_key_value_heads", 3, "must divide num_attention_heads=4; use 1, 2 or 4"},
                  {"/head_dim", 15, "must be even"},
                  {"/num_experts", 5000, "from 0 to 4096"},
                  {"/moe_intermediate_size", 0, "from 1 to 2147483648"},
                  {"/decoder_sparse_step", 0, "from 1 to 100000"},
                  {"/rope_theta", 0.5, "a number from 1 to 1000000000000000"},
                  {"/partial_rotary_factor", 2, "a number from 0.001 to 1"},
                  {"/rms_norm_eps", -1, "a number from 0 to 1"},
                  {"/attention_dropout", 1.5, "a number from 0 to 1"},
                  {"/initializer_range", -1, "a number from 0 to 1000000"},
                  {"/hidden_act", "sine", "use gelu, "},
                  {"/tie_word_embeddings", 1, "true or false"},
                  {"/attention_bias", "no", "true or false"}},
                 [](const Json& json) { read(json); });
}

TEST(BadInput, OfAClusterNamesValueAndWhatIsAllowed) {
  const Json valid = to_json(load_cluster("h100-sxm"));
  expect_refused(
      valid,
      {{"/nodes", 0, "from 1 to 1000000"},
       {"/devices_per_node", 2000, "from 1 to 1024"},
       {"/device/kind", "tpu", "use cpu or gpu"},
       {"/device/memory_bytes", -5, "from 1 to 1152921504606846976"},
       {"/device/float32_peak_flops_per_s", 0, "a number from 1 to 1e+24"},
       {"/device/float8_peak_flops_per_s", -1, "a number from 0 to 1e+24"},
       {"/device/bfloat16_peak_flops_per_s", 0, "a number from 1 to 1e+24"},
       {"/device/float16_peak_flops_per_s", -1, "a number from 0 to 1e+24"},
       {"/device/memory_bandwidth_bytes_per_s", 0, "a number from 1 to 1e+24"},
       {"/device/matmul/half_flops", -1, "a number from 0 to 1e+24"},
       {"/device/matmul/ceiling", 1.5, "a number from 0.001 to 1"},
       {"/device/launch_overhead_s", 9000, "a number from 0 to 3600"},
       {"/device/power_w", -3, "a number from 0 to 1000000"},
       {"/reserved_memory_bytes", -1, "an integer from 0 to"},
       {"/intra_node/all_reduce/latency_s", 9000, "a number from 0 to 3600"},
       {"/intra_node/reduce_scatter/bandwidth_bytes_per_s", 0, "a number from 1 to 1e+24"},
       {"/inter_node/reduce_scatter/latency_s", -1, "a number from 0 to 3600"},
       {"/inter_node/all_gather/bandwidth_bytes_per_s", 0, "a number from 1 to 1e+24"},
       {"/price_per_gpu_hour", -1, "a number from 0 to 1000000"},
       {"/overlap", 2, "a number from 0 to 1"}},
      [](const Json& json) { read_cluster(json, "cluster.json"); });
}

TEST(BadInput, OfJobAndLayoutInAPlanNamesValueAndWhatIsAllowed) {
  const Layout layout = layout_of({.dp_shard = 2, .tp = 2});
  const Json valid = to_json(plan_of(small_model(), cpu_cluster(layout), small_job(), layout));
  expect_refused(valid,
                 {{"/job/seq_length", 0, "an integer of at least 1"},
                  {"/job/param_dtype", "float7", "float32"},
                  {"/job/reduce_dtype", "float7", "float32"},
                  {"/job/master_dtype", "float7", "float32"},
                  {"/job/loss_normalization", "none", "global_tokens"},
                  {"/job/max_grad_norm", -1, "at least 0"},
                  {"/job/decay_norms_and_biases", 1, "true or false"},
                  {"/layout/pp", 0, "an integer of at least 1"},
                  {"/layout/dp_replicate", -1, "an integer of at least 1"},
                  {"/layout/dp_shard", 0, "an integer of at least 1"},
                  {"/layout/cp", "two", "an integer of at least 1"},
                  {"/layout/tp", 0, "an integer of at least 1"},
                  {"/layout/ranks_per_node", 0, "an integer of at least 1"},
                  {"/layout/gradient_accumulation", "some", "unsharded"},
                  {"/layout/checkpointed_blocks", -1, "an integer of at least 0"},
                  {"/layout/microbatch_size", -2, "an integer of at least 1"},
                  {"/layout/accumulation", 0, "an integer of at least 1"},
                  {"/layout/loss_chunks", 1.5, "an integer of at least 1"},
                  {"/layout/sharding", "half", "full_shard"},
                  {"/layout/sequence_parallel", "on", "true or false"},
                  {"/layout/activation_checkpointing", "some", "selective"},
                  {"/layout/blocks_kept_gathered", -1, "an integer of at least 0"}},
                 [](const Json& json) { read_plan(json, "plan.json"); });
}

TEST(BadInput, OfALayoutIsReportedBesideSizesThatAreNotPositive) {
  Layout layout = layout_of({.dp_shard = 2, .tp = 3});
  Job job = small_job();
  layout.mesh.sizes[Axis::kDpReplicate] = 0;
  layout.accumulation = -1;
  layout.blocks_kept_gathered = 9;
  job.max_grad_norm = -1;
  job.seq_length = 100'000;
  std::vector<std::string> codes;
  for (const Violation& violation : violations(small_model(), job, layout))
    codes.push_back(violation.code);
  EXPECT_THAT(codes, testing::IsSupersetOf({"size_positive", "blocks_kept_gathered_bounded",
                                            "max_grad_norm_valid", "seq_length_within_positions",
                                            "tp_divides_num_key_value_heads"}));
  EXPECT_EQ(std::ranges::count(codes, "size_positive"), 2);
}

TEST(BadInput, OfAModelThatTheProgramDoesNotCoverIsAViolation) {
  ModelSpec model = small_model();
  model.parallel_residual = true;
  model.norm_placement = NormPlacement::kBoth;
  const Layout layout = layout_of({.dp_shard = 2});
  Job job = small_job();
  const std::vector<Violation> found = violations(model, job, layout);
  ASSERT_EQ(found.size(), 1u);
  EXPECT_EQ(found[0].code, "program_covers_model");
  EXPECT_THAT(found[0].message,
              HasSubstr("qwen2: the step program has no operations yet for norms after"));
  // Nothing is priced, and nothing fails.
  const Estimate priced = estimate(model, cpu_cluster(layout), job, layout);
  EXPECT_EQ(priced.violations.size(), 1u);
}

}  // namespace
}  // namespace meshplan::planner

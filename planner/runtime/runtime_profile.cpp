#include "planner/runtime/runtime_profile.h"

#include <algorithm>
#include <array>

namespace meshplan::planner {
namespace {

/// What the ways to run PyTorch's FSDP2 have in common.
constexpr RuntimeProfile torch(RuntimeProfile own) {
  own.loss_bytes_per_logit = 20.85;
  own.optimizer_traffic_per_parameter = 28.41;
  own.step_overhead = common::Seconds(0.0055);
  own.async_tp_hidden = 0.3636;
  own.regather_hidden = 0.4741;
  own.sharding_slowdown = 0.6412;
  own.checkpoint_stops_early = true;
  own.splits_batch_over_stages = true;
  own.unsharded_in_pipeline = true;
  own.keeps_gathered_between_microbatches = true;
  own.pure_trainer_gathers_logits = true;
  own.graph_recompute = 0.235;
  return own;
}

// meshplan's figures are those of its step program (planner/program); the others are fitted.
constexpr std::array kRuntimes = std::to_array<RuntimeProfile>({
    {.name = "meshplan",
     .saved = {.hidden = 2, .qkv = 1, .attention = 1, .feed_forward = 2},
     .saved_selective_op = {.hidden = 1, .attention = 1},
     .logit_bytes = 6,
     .extra_bytes_per_parameter = 0,
     .zero1_whole_bytes = 6,
     .state_bytes_per_parameter = 16,
     .fixed_gib = 0.3},
    torch({.name = "torch_eager",
           .elementwise = 2.344,
           .tp_skew = 1.41,
           .saved = {.hidden = 8, .qkv = 2, .attention = 1, .feed_forward = 4},
           .working_blocks = 1.046,
           .gathered_blocks = 2.059,
           .gathered_vocabulary = 0.8985,
           .reduced_blocks = 1.405,
           .logit_bytes = 10.2,
           .chunked_logit_bytes = 4.136,
           .head_hidden = 2.024,
           .extra_bytes_per_parameter = 0.2368,
           .fixed_gib = 0.3034}),
    torch({.name = "torch_compile",
           .elementwise = 0.5473,
           .tp_skew = 1.41,
           .saved = {.hidden = 4, .qkv = 1, .attention = 1, .feed_forward = 3},
           .saved_selective_op = {.hidden = 1, .attention = 2, .feed_forward = 1, .keys = 1},
           .working_blocks = 0.7378,
           .gathered_blocks = 1.838,
           .gathered_vocabulary = 0.7389,
           .reduced_blocks = 1.328,
           .logit_bytes = 12.39,
           .chunked_logit_bytes = 7.496,
           .pure_logit_bytes = 8.663,
           .head_hidden = 2.22,
           .extra_bytes_per_parameter = 0.165,
           .fixed_gib = 0.2982,
           .reserved_over_allocated = 1.091}),
    torch({.name = "torch_aot_eager",
           .elementwise = 1.387,
           .tp_skew = 4.779,
           .saved = {.hidden = 8, .qkv = 2, .attention = 1, .feed_forward = 4},
           .saved_selective_op = {.hidden = 1, .attention = 2, .feed_forward = 1, .keys = 1},
           .gathered_blocks = 1.844,
           .gathered_vocabulary = 0.8367,
           .reduced_blocks = 1.333,
           .logit_bytes = 5.543,
           .head_hidden = 1.833,
           .extra_bytes_per_parameter = 0.2132,
           .fixed_gib = 0.27,
           .reserved_over_allocated = 1.066}),
    {.name = "megatron",
     .elementwise = 0.7733,
     .optimizer_traffic_per_parameter = 30.88,
     .tp_skew = 1.371,
     .regather_hidden = 0.4792,
     .scatters_sends = true,
     .unfused_attention_on_a100 = true,
     .saved = {.hidden = 4, .qkv = 1, .attention = 1, .feed_forward = 4},
     .logit_bytes = 5.901,
     .head_hidden = 1.925,
     .extra_bytes_per_parameter = 0.2952,
     .zero1_whole_bytes = 6,
     .state_bytes_per_parameter = 18,
     .fixed_gib = 0.1853,
     .reserved_over_allocated = 1.05},
    {.name = "nanotron",
     .elementwise = 1.453,
     .loss_bytes_per_logit = 40.04,
     .optimizer_traffic_per_parameter = 31.66,
     .step_overhead = common::Seconds(0.006511),
     .block_issue_time = common::Seconds(0.004368),
     .pipeline_issue_time = common::Seconds(0.002101),
     .pipeline_issue_growth = 0.251,
     .tp_skew = 0.8286,
     .regather_hidden = 0.542,
     .reduction_hidden = 0.4692,
     .balances_stages_by_cost = true,
     .reports_rank_0 = true,
     .saved = {.hidden = 6, .qkv = 2, .attention = 1, .feed_forward = 3},
     .working_blocks = 0.7406,
     .logit_bytes = 14.27,
     .head_hidden = 2.307,
     .extra_bytes_per_parameter = 0.58,
     .single_pass_saving = 0.9616,
     .kept_gathered = 1.23,
     .tied_stage_bytes = 5.258,
     .zero1_step_bytes = 14.56,
     .zero1_whole_bytes = 6,
     .state_bytes_per_parameter = 18,
     .fixed_gib = 0.2454,
     .reserved_over_allocated = 1.02},
    {.name = "composer_fsdp1",
     .elementwise = 1.42,
     .loss_bytes_per_logit = 34.71,
     .optimizer_traffic_per_parameter = 30.32,
     .step_overhead = common::Seconds(0.0057),
     .sharding_slowdown = 0.7997,
     .reduce_bytes = 2,
     .checkpoint_stops_early = true,
     .saved = {.hidden = 4, .qkv = 1, .attention = 1, .feed_forward = 4},
     .working_blocks = 0.4935,
     .gathered_blocks = 1.898,
     .gathered_vocabulary = 0.9842,
     .reduced_blocks = 1.389,
     .logit_bytes = 6,
     .extra_bytes_per_parameter = 0.2235,
     .fixed_gib = 0.9914,
     .reserved_over_allocated = 1},
});

}  // namespace

const RuntimeProfile* find_runtime(std::string_view name) {
  const auto found = std::find_if(kRuntimes.begin(), kRuntimes.end(),
                                  [&](const auto& profile) { return profile.name == name; });
  return found == kRuntimes.end() ? nullptr : &*found;
}

std::vector<std::string> runtime_names() {
  std::vector<std::string> names;
  for (const RuntimeProfile& profile : kRuntimes) names.emplace_back(profile.name);
  return names;
}

}  // namespace meshplan::planner

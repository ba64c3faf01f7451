#include "planner/runtime/runtime_profile.h"

#include <algorithm>
#include <array>

namespace meshplan::planner {
namespace {

/// What the ways to run PyTorch's FSDP2 have in common.
constexpr RuntimeProfile torch(RuntimeProfile own) {
  own.loss_bytes_per_logit = 20.81;
  own.optimizer_traffic_per_parameter = 29.1;
  own.step_overhead = common::Seconds(0.005647);
  own.async_tp_hidden = 0.3649;
  own.sharding_slowdown = 0.6239;
  own.graph_recompute = 0.2397;
  own.head_hidden = 2.169;
  own.extra_bytes_per_parameter = 0.1323;
  own.fixed_gib = 0.2817;
  own.reserved_over_allocated = 1.05;
  own.unshared_transients = 0.5;
  own.gathered_blocks = 1.725;
  own.gathered_vocabulary = 0.557;
  own.reduced_blocks = 1.122;
  own.pure_logit_bytes = 8.716;
  own.checkpoint_stops_early = true;
  own.splits_batch_over_stages = true;
  own.unsharded_in_pipeline = true;
  own.keeps_gathered_between_microbatches = true;
  own.pure_trainer_gathers_logits = true;
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
           .elementwise = 2.176,
           .tp_skew = 1.434,
           .saved = {.hidden = 8, .qkv = 2, .attention = 1, .feed_forward = 4},
           .working_blocks = 1.79,
           .logit_bytes = 11.15,
           .chunked_logit_bytes = 4.474}),
    torch({.name = "torch_compile",
           .elementwise = 0.5551,
           .tp_skew = 1.434,
           .saved = {.hidden = 4, .qkv = 1, .attention = 1, .feed_forward = 3},
           .saved_selective_op = {.hidden = 1, .attention = 2, .feed_forward = 1, .keys = 1},
           .working_blocks = 0.736,
           .logit_bytes = 12.65,
           .chunked_logit_bytes = 8.817}),
    torch({.name = "torch_aot_eager",
           .elementwise = 1.386,
           .tp_skew = 4.941,
           .saved = {.hidden = 8, .qkv = 2, .attention = 1, .feed_forward = 4},
           .saved_selective_op = {.hidden = 1, .attention = 2, .feed_forward = 1, .keys = 1},
           .logit_bytes = 6.197,
           .chunked_logit_bytes = 5}),
    {.name = "megatron",
     .elementwise = 0.8072,
     .loss_bytes_per_logit = 19.86,
     .optimizer_traffic_per_parameter = 30.29,
     .tp_skew = 1.049,
     .tp_overlap = 0.8,
     .scatters_sends = true,
     .unfused_attention_on_a100 = true,
     .saved = {.hidden = 4, .qkv = 1, .attention = 1, .feed_forward = 4},
     .logit_bytes = 5.613,
     .head_hidden = 1.941,
     .extra_bytes_per_parameter = 0.296,
     .zero1_whole_bytes = 6,
     .state_bytes_per_parameter = 18,
     .fixed_gib = 0.2006,
     .reserved_over_allocated = 1.05},
    {.name = "nanotron",
     .elementwise = 1.483,
     .loss_bytes_per_logit = 40.26,
     .optimizer_traffic_per_parameter = 32.2,
     .step_overhead = common::Seconds(0.006898),
     .block_issue_time = common::Seconds(0.004365),
     .pipeline_issue_time = common::Seconds(0.002098),
     .pipeline_issue_growth = 0.2527,
     .tp_node_time = common::Seconds(0.035),
     .crowded_message_time = common::Seconds(0.25),
     .tp_skew = 0.839,
     .tp_overlap = 0.8,
     .reduction_hidden = 0.4636,
     .zero1_reduces_after = true,
     .balances_stages_by_cost = true,
     .reports_rank_0 = true,
     .saved = {.hidden = 6, .qkv = 2, .attention = 1, .feed_forward = 3},
     .working_blocks = 0.9669,
     .logit_bytes = 14.54,
     .head_hidden = 2.323,
     .extra_bytes_per_parameter = 0.753,
     .single_pass_saving = 0.9661,
     .kept_gathered = 1.32,
     .tied_stage_bytes = 6.252,
     .zero1_step_bytes = 14.58,
     .zero1_whole_bytes = 6,
     .state_bytes_per_parameter = 18,
     .fixed_gib = 0.2455,
     .reserved_over_allocated = 1.02},
    {.name = "composer_fsdp1",
     .elementwise = 1.474,
     .loss_bytes_per_logit = 35.25,
     .optimizer_traffic_per_parameter = 30.34,
     .step_overhead = common::Seconds(0.005668),
     .sharding_slowdown = 0.8199,
     .reduce_bytes = 2,
     .checkpoint_stops_early = true,
     .saved = {.hidden = 4, .qkv = 1, .attention = 1, .feed_forward = 4},
     .working_blocks = 0.4903,
     .gathered_blocks = 1.902,
     .gathered_vocabulary = 0.9849,
     .reduced_blocks = 1.394,
     .logit_bytes = 4,
     .extra_bytes_per_parameter = 0.226,
     .fixed_gib = 0.9778,
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

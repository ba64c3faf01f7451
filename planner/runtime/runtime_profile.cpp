#include "planner/runtime/runtime_profile.h"

#include <algorithm>
#include <array>

namespace meshplan::planner {
namespace {

/// What the ways to run PyTorch's FSDP2 have in common.
constexpr RuntimeProfile torch(RuntimeProfile own) {
  own.loss_bytes_per_logit = 20.53;
  own.optimizer_traffic_per_parameter = 28.36;
  own.step_overhead = common::Seconds(0.005336);
  own.async_tp_hidden = 0.3543;
  own.sharding_slowdown = 0.5965;
  own.graph_recompute = 0.2425;
  own.head_hidden = 1.969;
  own.extra_bytes_per_parameter = 0.1249;
  own.fixed_gib = 0.2769;
  own.reserved_over_allocated = 1.051;
  own.unshared_transients = 0.4758;
  own.gathered_blocks = 1.63;
  own.gathered_vocabulary = 0.5875;
  own.reduced_blocks = 1.055;
  own.pure_logit_bytes = 8.74;
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
     .fixed_gib = 0.3,
     .reserved_over_allocated = 1.1},
    torch({.name = "torch_eager",
           .elementwise = 2.121,
           .tp_skew = 1.211,
           .saved = {.hidden = 8, .qkv = 2, .attention = 1, .feed_forward = 4},
           .working_blocks = 1.396,
           .logit_bytes = 11.35,
           .chunked_logit_bytes = 4.165}),
    torch({.name = "torch_compile",
           .elementwise = 0.5403,
           .tp_skew = 1.211,
           .saved = {.hidden = 4, .qkv = 1, .attention = 1, .feed_forward = 3},
           .saved_selective_op = {.hidden = 1, .attention = 2, .feed_forward = 1, .keys = 1},
           .working_blocks = 0.7962,
           .logit_bytes = 12.51,
           .chunked_logit_bytes = 9.25}),
    torch({.name = "torch_aot_eager",
           .elementwise = 1.353,
           .tp_skew = 3.599,
           .saved = {.hidden = 8, .qkv = 2, .attention = 1, .feed_forward = 4},
           .saved_selective_op = {.hidden = 1, .attention = 2, .feed_forward = 1, .keys = 1},
           .working_blocks = 0.5925,
           .logit_bytes = 5.758,
           .chunked_logit_bytes = 5}),
    {.name = "megatron",
     .elementwise = 0.8394,
     .loss_bytes_per_logit = 19.84,
     .optimizer_traffic_per_parameter = 30.67,
     .tp_skew = 1.203,
     .tp_overlap = 0.8679,
     .scatters_sends = true,
     .unfused_attention_on_a100 = true,
     .saved = {.hidden = 4, .qkv = 1, .attention = 1, .feed_forward = 4},
     .logit_bytes = 5.613,
     .head_hidden = 1.941,
     .extra_bytes_per_parameter = 0.296,
     .zero1_whole_bytes = 6,
     .state_bytes_per_parameter = 18,
     .fixed_gib = 0.2005,
     .reserved_over_allocated = 1.05},
    {.name = "nanotron",
     .elementwise = 1.602,
     .loss_bytes_per_logit = 39.13,
     .optimizer_traffic_per_parameter = 32.12,
     .step_overhead = common::Seconds(0.007166),
     .block_issue_time = common::Seconds(0.004353),
     .pipeline_issue_time = common::Seconds(0.002101),
     .pipeline_issue_growth = 0.2474,
     .tp_node_time = common::Seconds(0.04134),
     .crowded_message_time = common::Seconds(0.2509),
     .tp_skew = 0.9482,
     .tp_overlap = 0.8679,
     .reduction_hidden = 0.4697,
     .zero1_reduces_after = true,
     .balances_stages_by_cost = true,
     .reports_rank_0 = true,
     .saved = {.hidden = 6, .qkv = 2, .attention = 1, .feed_forward = 3},
     .working_blocks = 0.9714,
     .logit_bytes = 14.52,
     .head_hidden = 2.315,
     .extra_bytes_per_parameter = 0.7514,
     .single_pass_saving = 0.9701,
     .kept_gathered = 1.338,
     .tied_stage_bytes = 6.222,
     .zero1_step_bytes = 14.59,
     .zero1_whole_bytes = 6,
     .state_bytes_per_parameter = 18,
     .fixed_gib = 0.248,
     .reserved_over_allocated = 1},
    {.name = "composer_fsdp1",
     .elementwise = 1.341,
     .loss_bytes_per_logit = 34.14,
     .optimizer_traffic_per_parameter = 30.19,
     .step_overhead = common::Seconds(0.005607),
     .sharding_slowdown = 0.7688,
     .reduce_bytes = 2,
     .checkpoint_stops_early = true,
     .saved = {.hidden = 4, .qkv = 1, .attention = 1, .feed_forward = 4},
     .working_blocks = 0.4969,
     .gathered_blocks = 1.968,
     .gathered_vocabulary = 0.9952,
     .reduced_blocks = 1.482,
     .logit_bytes = 4,
     .extra_bytes_per_parameter = 0.2698,
     .fixed_gib = 0.9929,
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

#include "planner/runtime/runtime_profile.h"

#include <algorithm>
#include <array>

namespace meshplan::planner {
namespace {

/// What the ways to run PyTorch's FSDP2 have in common.
constexpr RuntimeProfile torch(RuntimeProfile own) {
  own.loss_bytes_per_logit = 20.52;
  own.optimizer_traffic_per_parameter = 28.35;
  own.step_overhead = common::Seconds(0.005335);
  own.async_tp_hidden = 0.3543;
  own.sharding_slowdown = 0.5962;
  own.graph_recompute = 0.2424;
  own.head_hidden = 1.861;
  own.extra_bytes_per_parameter = 0.1502;
  own.fixed_gib = 0.2621;
  own.reserved_over_allocated = 1.05;
  own.unshared_transients = 0.6247;
  own.gathered_blocks = 1.549;
  own.gathered_vocabulary = 0.6061;
  own.reduced_blocks = 1;
  own.pure_logit_bytes = 7.047;
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
           .elementwise = 2.118,
           .tp_skew = 1.211,
           .saved = {.hidden = 8, .qkv = 2, .attention = 1, .feed_forward = 4},
           .working_blocks = 1.146,
           .logit_bytes = 10.96,
           .chunked_logit_bytes = 3.838}),
    torch({.name = "torch_compile",
           .elementwise = 0.5402,
           .tp_skew = 1.211,
           .saved = {.hidden = 4, .qkv = 1, .attention = 1, .feed_forward = 3},
           .saved_selective_op = {.hidden = 1, .attention = 2, .feed_forward = 1, .keys = 1},
           .working_blocks = 0.6965,
           .logit_bytes = 12.22,
           .chunked_logit_bytes = 8.922}),
    torch({.name = "torch_aot_eager",
           .elementwise = 1.353,
           .tp_skew = 3.6,
           .saved = {.hidden = 8, .qkv = 2, .attention = 1, .feed_forward = 4},
           .saved_selective_op = {.hidden = 1, .attention = 2, .feed_forward = 1, .keys = 1},
           .working_blocks = 0.6103,
           .logit_bytes = 5.039,
           .chunked_logit_bytes = 5}),
    {.name = "megatron",
     .elementwise = 0.8392,
     .loss_bytes_per_logit = 19.84,
     .optimizer_traffic_per_parameter = 30.67,
     .tp_skew = 1.202,
     .tp_overlap = 0.8686,
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
     .elementwise = 1.604,
     .loss_bytes_per_logit = 39.14,
     .optimizer_traffic_per_parameter = 32.12,
     .step_overhead = common::Seconds(0.007181),
     .block_issue_time = common::Seconds(0.004352),
     .pipeline_issue_time = common::Seconds(0.002101),
     .pipeline_issue_growth = 0.2472,
     .tp_node_time = common::Seconds(0.04143),
     .crowded_message_time = common::Seconds(0.2509),
     .tp_skew = 0.9471,
     .tp_overlap = 0.8686,
     .reduction_hidden = 0.4694,
     .zero1_reduces_after = true,
     .balances_stages_by_cost = true,
     .reports_rank_0 = true,
     .saved = {.hidden = 6, .qkv = 2, .attention = 1, .feed_forward = 3},
     .working_blocks = 0.9733,
     .logit_bytes = 14.52,
     .head_hidden = 2.315,
     .extra_bytes_per_parameter = 0.75,
     .single_pass_saving = 0.9706,
     .kept_gathered = 1.341,
     .tied_stage_bytes = 6.22,
     .zero1_step_bytes = 14.59,
     .zero1_whole_bytes = 6,
     .state_bytes_per_parameter = 18,
     .fixed_gib = 0.2484,
     .reserved_over_allocated = 1},
    {.name = "composer_fsdp1",
     .elementwise = 1.341,
     .loss_bytes_per_logit = 34.13,
     .optimizer_traffic_per_parameter = 30.19,
     .step_overhead = common::Seconds(0.005606),
     .sharding_slowdown = 0.7687,
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

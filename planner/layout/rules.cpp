#include "planner/layout/rules.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "common/data_type.h"
#include "planner/layout/option_rules.h"
#include "planner/layout/rule_list.h"
#include "planner/model/coverage.h"
#include "planner/model/feed_forward_model.h"

namespace meshplan::planner {
namespace {

constexpr std::int64_t kMaxAccumulation = std::int64_t{1} << 20;
/// All are played beside each other, in time that grows with their square.
constexpr std::int64_t kMaxStages = 512;

/// The product of the axes, or nothing when it does not fit: sizes come from flags.
bool world_fits(const DeviceMesh& mesh, std::int64_t& world) {
  world = 1;
  for (Axis axis : kMeshAxes) {
    if (__builtin_mul_overflow(world, mesh.sizes[axis], &world)) return false;
  }
  return world <= std::numeric_limits<std::int32_t>::max();
}

/// An upper bound of the bytes that a rank touches in a step, so that no sum of the cost model
/// leaves its type: every activation some dozen times, every parameter likewise.
double bytes_touched(const ModelSpec& model, const Job& job, const Layout& layout) {
  const auto number = [](std::int64_t size) { return static_cast<double>(size); };
  const double heads = number(model.num_attention_heads + 2 * model.num_key_value_heads);
  const double experts = number(model.moe.num_experts) * number(model.moe.intermediate_size) +
                         number(model.moe.shared_intermediate_size);
  const double projections =
      heads * number(model.head_dim) + 3 * (number(model.intermediate_size) + experts);
  const double scores = number(model.num_attention_heads) * number(job.seq_length);
  const double layers = number(model.num_hidden_layers);
  // Each token is sent to so many experts.
  const double residual = (4 + 2 * number(model.moe.experts_per_token)) * number(model.hidden_size);
  const double activations =
      layers * (residual + 2 * projections + scores) + number(model.vocab_size);
  const double parameters =
      number(model.hidden_size) * (2 * layers * projections + 2 * number(model.vocab_size));
  const double microbatch = number(layout.microbatch_size) * number(job.seq_length) * activations;
  return 64 * number(layout.accumulation) * (microbatch + parameters);
}

bool check_positive(Rules& rules, const Job& job, const Layout& layout) {
  bool positive = true;
  for (Axis axis : kMeshAxes) positive &= rules.positive(to_string(axis), layout.mesh.sizes[axis]);
  positive &= rules.positive("expert_parallel", layout.mesh.expert_parallel);
  positive &= rules.positive("virtual_stages", layout.virtual_stages);
  positive &= rules.positive("microbatch_size", layout.microbatch_size);
  positive &= rules.positive("accumulation", layout.accumulation);
  positive &= rules.positive("loss_chunks", layout.loss_chunks);
  positive &= rules.positive("seq_length", job.seq_length);
  return positive;
}

/// Puts 1 in place of what is not positive, so that the rules of single sizes can be checked all
/// the same; chunks would be weighed against the tokens.
void make_positive(Job& job, Layout& layout) {
  for (Axis axis : kMeshAxes)
    layout.mesh.sizes[axis] = std::max<std::int64_t>(1, layout.mesh.sizes[axis]);
  for (std::int64_t* size : {&layout.mesh.expert_parallel, &layout.virtual_stages,
                             &layout.microbatch_size, &layout.accumulation, &job.seq_length})
    *size = std::max<std::int64_t>(1, *size);
  layout.loss_chunks = 1;
}

void check_bounds(Rules& rules, const ModelSpec& model, const Job& job, const Layout& layout) {
  std::int64_t world = 0;
  rules.require(world_fits(layout.mesh, world), "world_size_bounded",
                "the product of the axes is beyond 2^31 ranks; use smaller axes");
  std::int64_t tokens = 0;
  const bool tokens_fit =
      !__builtin_mul_overflow(layout.microbatch_size, job.seq_length, &tokens) &&
      tokens < (1ll << 31);
  rules.require(
      tokens_fit, "microbatch_bounded",
      "microbatch_size={} x seq_length={}: a microbatch has at most 2^31 tokens; use less",
      layout.microbatch_size, job.seq_length);
  rules.require(layout.accumulation <= kMaxAccumulation, "accumulation_bounded",
                "accumulation={}: at most {}; use a larger microbatch", layout.accumulation,
                kMaxAccumulation);
  rules.require(bytes_touched(model, job, layout) < 0x1p62, "step_bounded",
                "microbatch_size={} x seq_length={} x accumulation={}: a step of this model is "
                "beyond 2^62 bytes; use less",
                layout.microbatch_size, job.seq_length, layout.accumulation);
  rules.require(!tokens_fit || layout.loss_chunks <= tokens, "loss_chunks_bounded",
                "loss_chunks={}: at most the {} tokens of a microbatch", layout.loss_chunks,
                tokens);
  rules.require(layout.loss_chunks <= kMaxLossChunks, "loss_chunks_bounded",
                "loss_chunks={}: at most {}", layout.loss_chunks, kMaxLossChunks);
  rules.require(
      layout.blocks_kept_gathered >= 0 && layout.blocks_kept_gathered <= model.num_hidden_layers,
      "blocks_kept_gathered_bounded",
      "blocks_kept_gathered={}: must be from 0 to num_hidden_layers={}",
      layout.blocks_kept_gathered, model.num_hidden_layers);
  rules.require(layout.prefetch_depth >= 0 && layout.prefetch_depth <= kMaxPrefetchDepth,
                "prefetch_depth_bounded", "prefetch_depth={}: must be from 0 to {} units ahead",
                layout.prefetch_depth, kMaxPrefetchDepth);
  rules.require(layout.prefetch_depth == 1 || !is_feed_forward(model), "prefetch_depth_of_blocks",
                "prefetch_depth={}: the feed-forward demo gathers one unit ahead; leave it at 1",
                layout.prefetch_depth);
  rules.require(job.max_grad_norm >= 0 && std::isfinite(job.max_grad_norm), "max_grad_norm_valid",
                "max_grad_norm={}: must be a finite number of at least 0, where 0 is off",
                job.max_grad_norm);
}

void check_model(Rules& rules, const ModelSpec& model, const Job& job, std::int64_t tp) {
  const std::vector<std::string> beyond = beyond_program(model);
  rules.require(beyond.empty(), "program_covers_model",
                "{}: the step program has no operations yet for {}; use a model without, such as "
                "those of the llama, mistral, qwen2 and qwen3 families",
                to_string(model.family), fmt::join(beyond, ", "));
  rules.require(
      model.max_position_embeddings == 0 || job.seq_length <= model.max_position_embeddings,
      "seq_length_within_positions",
      "seq_length={}: at most max_position_embeddings={}; use less, or a config.json with more",
      job.seq_length, model.max_position_embeddings);
  rules.require(model.num_attention_heads > 0, "attention_heads_known",
                "the model has neither num_key_value_heads nor num_attention_heads, so tp cannot "
                "be checked against them; add num_attention_heads to its config.json");
  if (model.num_key_value_heads > 0) {
    rules.divides(tp, "num_key_value_heads", model.num_key_value_heads);
  }
  if (model.num_attention_heads > 0) {
    rules.divides(tp, "num_attention_heads", model.num_attention_heads);
  }
  const std::int64_t moe_blocks = moe_block_count(model);
  if (moe_blocks < model.num_hidden_layers)
    rules.divides(tp, "intermediate_size", model.intermediate_size);
  if (moe_blocks == 0) return;
  rules.divides(tp, "expert_intermediate_size", model.moe.intermediate_size);
  rules.divides(tp, "shared_expert_intermediate_size", model.moe.shared_intermediate_size);
}

/// Each rank of ep holds as many experts, and as many ranks hold the same ones.
void check_experts(Rules& rules, const ModelSpec& model, const DeviceMesh& mesh) {
  const std::int64_t ep = mesh.expert_parallel;
  if (ep == 1) return;
  const std::int64_t experts = model.moe.num_experts;
  rules.require(experts > 0, "expert_parallel_has_experts",
                "expert_parallel={}: the model has no experts to share out; use 1", ep);
  if (experts > 0) rules.divides("expert_parallel", ep, "num_experts", experts);
  std::int64_t shards = 0;
  if (__builtin_mul_overflow(mesh.sizes[Axis::kDpShard], mesh.sizes[Axis::kCp], &shards)) return;
  rules.require(shards % ep == 0, "expert_parallel_divides_shards",
                "expert_parallel={}: must divide dp_shard x cp = {}; use {}", ep, shards,
                common::divisors(shards));
}

void check_pipeline(Rules& rules, const ModelSpec& model, const Layout& layout) {
  const std::int64_t pp = layout.mesh.sizes[Axis::kPp];
  rules.require(pp <= model.num_hidden_layers, "pp_bounded",
                "pp={}: a stage has at least one block; use at most num_hidden_layers={}", pp,
                model.num_hidden_layers);
  rules.require(pp <= kMaxStages, "pp_bounded", "pp={}: at most {} stages are planned", pp,
                kMaxStages);
}

/// Each rank has one piece from a sequence's front and one from its end, so that all compute as
/// much of the causal attention.
void check_context(Rules& rules, const Job& job, const Layout& layout) {
  const std::int64_t cp = layout.mesh.sizes[Axis::kCp];
  if (cp == 1) return;
  rules.require(cp <= job.seq_length / 2 && job.seq_length % (2 * cp) == 0, "cp_divides_seq_length",
                "cp={}: 2 x cp pieces must divide seq_length={}; use another cp or seq_length", cp,
                job.seq_length);
  rules.require(layout.sharding != Sharding::kNoShard, "cp_shards",
                "cp={}: parameters are sharded over dp_shard x cp; use another strategy than "
                "no_shard, or cp=1",
                cp);
}

/// The feed-forward demo in the place of check_model() and what follows it: what of a layout has
/// no meaning for three linear layers.
void check_feed_forward(Rules& rules, const ModelSpec& model, const Layout& layout) {
  const AxisSizes& sizes = layout.mesh.sizes;
  rules.divides(sizes[Axis::kTp], "intermediate_size", model.intermediate_size);
  rules.require(sizes[Axis::kPp] == 1, "pp_supported",
                "pp={}: the feed-forward demo has no stages to divide; use 1", sizes[Axis::kPp]);
  rules.require(sizes[Axis::kCp] == 1, "cp_supported",
                "cp={}: the feed-forward demo has no sequences to divide; use 1, and a larger dp",
                sizes[Axis::kCp]);
  check_experts(rules, model, layout.mesh);
  rules.require(!layout.sequence_parallel, "sequence_parallel_supported",
                "sequence_parallel=on: the feed-forward demo has no residual stream to split; "
                "use off");
  rules.require(layout.activation_checkpointing == ActivationCheckpointing::kNone,
                "activation_checkpointing_supported",
                "activation_checkpointing={}: the feed-forward demo saves the outputs of w1 and w3 "
                "alone; use none",
                to_string(layout.activation_checkpointing));
  rules.require(layout.loss_chunks == 1, "loss_chunks_supported",
                "loss_chunks={}: the feed-forward demo has no logits to cut; use 1",
                layout.loss_chunks);
}

void check_sharding(Rules& rules, const Layout& layout) {
  const std::int64_t dp_shard = layout.mesh.sizes[Axis::kDpShard];
  const std::int64_t dp_replicate = layout.mesh.sizes[Axis::kDpReplicate];
  rules.require(layout.sharding != Sharding::kNoShard || dp_shard == 1, "no_shard_replicates",
                "dp_shard={}: no_shard keeps everything whole on every rank; use dp_shard=1 and "
                "dp_replicate={}",
                dp_shard, dp_replicate * dp_shard);
  const bool hybrid = without_replicas(layout.sharding) != layout.sharding;
  rules.require(!hybrid || dp_replicate > 1, "hybrid_shard_replicates",
                "dp_replicate=1: {} needs at least 2 replicas; use {}, or a larger dp_replicate",
                to_string(layout.sharding), to_string(without_replicas(layout.sharding)));
}

void check_sequence_parallel(Rules& rules, const Job& job, const Layout& layout) {
  const std::int64_t tp = layout.mesh.sizes[Axis::kTp];
  const std::int64_t cp = layout.mesh.sizes[Axis::kCp];
  std::int64_t tokens = 0;
  if (!layout.sequence_parallel ||
      __builtin_mul_overflow(layout.microbatch_size, job.seq_length / cp, &tokens)) {
    return;
  }
  rules.require(tokens % tp == 0, "sequence_parallel_divides",
                "sequence_parallel=on: tp={} must divide the {} tokens of a microbatch on a rank "
                "(microbatch_size={} x seq_length={} / cp={}) that it shares out; use off, or "
                "another microbatch_size or seq_length",
                tp, tokens, layout.microbatch_size, job.seq_length, cp);
}

void check_checkpointing(Rules& rules, const ModelSpec& model, const Layout& layout) {
  const std::int64_t blocks = layout.checkpointed_blocks.value_or(0);
  rules.require(blocks >= 0 && blocks <= model.num_hidden_layers, "checkpointed_blocks_bounded",
                "checkpointed_blocks={}: must be from 0 to num_hidden_layers={}", blocks,
                model.num_hidden_layers);
}

void check_data_types(Rules& rules, const Job& job) {
  const auto float32_or_param = [&](const char* name, common::DataType type) {
    rules.require(type == common::DataType::kFloat32 || type == job.param_dtype,
                  "data_type_supported", "{}={}: must be float32 or param_dtype={}", name,
                  common::to_string(type), common::to_string(job.param_dtype));
  };
  float32_or_param("reduce_dtype", job.reduce_dtype);
  float32_or_param("master_dtype", job.master_dtype);
  rules.require(job.master_dtype != common::DataType::kFloat16, "master_dtype_wide_enough",
                "master_dtype=float16: updates would vanish in it; use float32");
}

/// "dp_replicate=1 x dp_shard=4 x tp=2", and pp and cp where they are more than 1.
std::string product_of(const AxisSizes& sizes) {
  std::string text;
  for (Axis axis : kMeshAxes) {
    const bool always = axis != Axis::kPp && axis != Axis::kCp;
    if (!always && sizes[axis] == 1) continue;
    text += fmt::format("{}{}={}", text.empty() ? "" : " x ", to_string(axis), sizes[axis]);
  }
  return text;
}

}  // namespace

std::vector<Violation> violations(const ModelSpec& model, const Job& job, const Layout& layout) {
  Rules rules;
  Job positive_job = job;
  Layout positive = layout;
  const bool all_positive = check_positive(rules, job, layout);
  if (!all_positive) make_positive(positive_job, positive);
  check_bounds(rules, model, positive_job, positive);
  if (is_feed_forward(model)) {
    check_feed_forward(rules, model, positive);
  } else {
    check_model(rules, model, positive_job, positive.mesh.sizes[Axis::kTp]);
    check_experts(rules, model, positive.mesh);
    check_pipeline(rules, model, positive);
    check_context(rules, positive_job, positive);
  }
  // These weigh sizes against one another.
  if (all_positive) {
    check_sharding(rules, layout);
    check_sequence_parallel(rules, job, layout);
    check_options(rules, model, job, layout);
  }
  check_checkpointing(rules, model, layout);
  check_data_types(rules, job);
  return rules.take();
}

std::vector<Violation> violations(const ModelSpec& model, const ClusterSpec& cluster,
                                  const Job& job, const Layout& layout) {
  std::vector<Violation> found = violations(model, job, layout);
  std::int64_t world = 0;
  if (world_fits(layout.mesh, world) && world != world_size(cluster)) {
    found.push_back(
        {"world_size", fmt::format("{} = {}: must equal the cluster's {} node{} x {} devices = {}; "
                                   "change an axis or the cluster",
                                   product_of(layout.mesh.sizes), world, cluster.nodes,
                                   cluster.nodes == 1 ? "" : "s", cluster.devices_per_node,
                                   world_size(cluster))});
  }
  if (layout.mesh.ranks_per_node != cluster.devices_per_node) {
    found.push_back({"ranks_per_node",
                     fmt::format("ranks_per_node={}: must equal the cluster's devices_per_node={}",
                                 layout.mesh.ranks_per_node, cluster.devices_per_node)});
  }
  Rules rules;
  check_options(rules, cluster, job, layout);
  for (Violation& violation : rules.take()) found.push_back(std::move(violation));
  if (!found.empty()) return found;
  check_host_memory(rules, model, cluster, job, layout);
  found = rules.take();
  return found;
}

std::vector<Violation> executor_violations(const ModelSpec& model, const Job& job,
                                           const Layout& layout) {
  Rules rules;
  for (Axis axis : {Axis::kPp, Axis::kCp, Axis::kEp}) {
    const std::int64_t size = group_size(layout.mesh, axis);
    rules.require(size == 1, "executor_runs_axis",
                  "{}={}: the executor trains over dp_replicate, dp_shard and tp; use {}=1, or "
                  "export the plan to a trainer that has this axis",
                  to_string(axis), size, to_string(axis));
  }
  rules.require(model.sliding_window == 0 || job.seq_length <= model.sliding_window,
                "seq_length_within_window",
                "seq_length={}: at most sliding_window={}, as the executor attends to whole "
                "sequences; use a shorter one",
                job.seq_length, model.sliding_window);
  check_executor_options(rules, job, layout);
  return rules.take();
}

std::string to_string(const std::vector<Violation>& violations) {
  std::string text;
  for (const Violation& violation : violations)
    text += (text.empty() ? "" : "\n") + violation.message;
  return text;
}

}  // namespace meshplan::planner

#pragma once

#include <rapidcheck.h>

#include <algorithm>
#include <cstdint>
#include <numeric>
#include <utility>

#include "tests/planner/plans.h"

namespace meshplan::planner {

/// A small model with any of the features that shape a step; its vocabulary needs padding.
inline ModelSpec any_model() {
  ModelSpec model = small_model(*rc::gen::inRange<std::int64_t>(1, 9));
  model.vocab_size = *rc::gen::inRange<std::int64_t>(509, 516);
  model.tie_word_embeddings = *rc::gen::arbitrary<bool>();
  model.qkv_bias = *rc::gen::arbitrary<bool>();
  model.attention_output_bias = *rc::gen::arbitrary<bool>();
  model.qk_norm = *rc::gen::arbitrary<bool>();
  model.gated_feed_forward = *rc::gen::arbitrary<bool>();
  model.feed_forward_bias = *rc::gen::arbitrary<bool>();
  model.norm = *rc::gen::element(NormKind::kRms, NormKind::kLayer);
  model.norm_bias = model.norm == NormKind::kLayer;
  model.positions = *rc::gen::element(Positions::kRotary, Positions::kLearned);
  return model;
}

/// A mixture of experts in some of the model's blocks, or in all.
inline MoeSpec any_experts(std::int64_t blocks) {
  MoeSpec moe;
  moe.num_experts = *rc::gen::element<std::int64_t>(6, 8, 24);
  moe.experts_per_token = *rc::gen::inRange<std::int64_t>(1, 5);
  moe.intermediate_size = *rc::gen::element<std::int64_t>(32, 128);
  moe.shared_intermediate_size = *rc::gen::element<std::int64_t>(0, 64);
  moe.first_dense_blocks = *rc::gen::inRange<std::int64_t>(0, 3);
  moe.sparse_step = *rc::gen::element<std::int64_t>(1, 1, 2);
  if (*rc::gen::arbitrary<bool>()) moe.dense_blocks = {blocks / 2};
  return moe;
}

/// The same of any imported architecture.
inline ModelSpec any_architecture() {
  ModelSpec model = any_model();
  model.family = ModelFamily::kOther;
  model.parallel_residual = *rc::gen::arbitrary<bool>();
  model.shared_norm = model.parallel_residual && *rc::gen::arbitrary<bool>();
  if (!model.parallel_residual)
    model.norm_placement =
        *rc::gen::element(NormPlacement::kBefore, NormPlacement::kAfter, NormPlacement::kBoth);
  model.final_norm = *rc::gen::arbitrary<bool>();
  model.embedding_norm = *rc::gen::arbitrary<bool>();
  model.embedding_size = *rc::gen::element<std::int64_t>(0, 32);
  model.qk_norm_shape =
      *rc::gen::element(QkNormShape::kSharedHead, QkNormShape::kEachHead, QkNormShape::kAllHeads);
  model.sliding_window = *rc::gen::element<std::int64_t>(0, 50);
  model.windowed_blocks = *rc::gen::inRange<std::int64_t>(0, model.num_hidden_layers + 1);
  if (*rc::gen::arbitrary<bool>()) {
    model.moe = any_experts(model.num_hidden_layers);
    model.shared_expert_gate = *rc::gen::arbitrary<bool>();
  }
  return model;
}

inline Job any_job() {
  Job job = small_job();
  job.seq_length = *rc::gen::element<std::int64_t>(7, 64, 200);
  job.param_dtype = *rc::gen::element(common::DataType::kFloat32, common::DataType::kBfloat16,
                                      common::DataType::kFloat16);
  job.reduce_dtype = *rc::gen::element(common::DataType::kFloat32, job.param_dtype);
  if (job.param_dtype != common::DataType::kFloat16)
    job.master_dtype = *rc::gen::element(common::DataType::kFloat32, job.param_dtype);
  job.loss_normalization =
      *rc::gen::element(LossNormalization::kGlobalTokens, LossNormalization::kPerRank);
  job.max_grad_norm = *rc::gen::element(0.0, 1.0);
  job.decay_norms_and_biases = *rc::gen::arbitrary<bool>();
  return job;
}

inline Layout any_layout(const ModelSpec& model, const Job& job) {
  Layout layout = layout_of({.dp_replicate = *rc::gen::element<std::int64_t>(1, 2),
                             .dp_shard = *rc::gen::element<std::int64_t>(1, 2, 3, 8),
                             .tp = *rc::gen::element<std::int64_t>(1, 2, 4)});
  layout.microbatch_size = *rc::gen::inRange<std::int64_t>(1, 4);
  layout.accumulation = *rc::gen::inRange<std::int64_t>(1, 8);
  layout.loss_chunks = *rc::gen::inRange<std::int64_t>(1, 5);
  layout.blocks_kept_gathered = *rc::gen::inRange<std::int64_t>(0, model.num_hidden_layers + 1);
  layout.sharding =
      *rc::gen::element(Sharding::kFullShard, Sharding::kShardGradOp, Sharding::kShardOptimizer,
                        Sharding::kNoShard, Sharding::kHybridShard, Sharding::kHybridShardZero2);
  AxisSizes& sizes = layout.mesh.sizes;
  if (layout.sharding == Sharding::kNoShard)
    sizes[Axis::kDpReplicate] *= std::exchange(sizes[Axis::kDpShard], 1);
  if (layout.sharding != without_replicas(layout.sharding)) sizes[Axis::kDpReplicate] = 2;
  layout.gradient_accumulation =
      *rc::gen::element(GradientAccumulation::kSharded, GradientAccumulation::kUnsharded);
  layout.sequence_parallel =
      *rc::gen::arbitrary<bool>() && microbatch_tokens(layout, job) % sizes[Axis::kTp] == 0;
  layout.activation_checkpointing =
      *rc::gen::element(ActivationCheckpointing::kNone, ActivationCheckpointing::kSelective,
                        ActivationCheckpointing::kFull);
  if (*rc::gen::arbitrary<bool>())
    layout.checkpointed_blocks = *rc::gen::inRange<std::int64_t>(0, model.num_hidden_layers + 1);
  return layout;
}

/// A cluster of CPU ranks or GPUs for the layout's mesh, on one node or more (the layout's
/// ranks_per_node follows), whose links and overlap lie anywhere between negligible and dominating.
inline ClusterSpec any_cluster(Layout& layout) {
  ClusterSpec cluster = load_cluster(*rc::gen::element("local-cpu", "h100-sxm"));
  const std::int64_t world = world_size(layout.mesh);
  const std::int64_t nodes = *rc::gen::element<std::int64_t>(1, 2, 4);
  cluster.nodes = world % nodes == 0 ? nodes : 1;
  cluster.devices_per_node = world / cluster.nodes;
  layout.mesh.ranks_per_node = cluster.devices_per_node;
  cluster.overlap = *rc::gen::element(0.0, 0.5, 0.9, 1.0);
  const double slowdown = *rc::gen::element(0.01, 1.0, 10.0);
  scale_latency(cluster, slowdown);
  scale_node_bandwidth(cluster, 1 / slowdown);
  scale_network_bandwidth(cluster, 1 / slowdown);
  return cluster;
}

/// Shares out the experts, if there are any, to some of the ranks that can.
inline void share_out_experts(const ModelSpec& model, DeviceMesh& mesh) {
  const auto most = std::gcd(model.moe.num_experts, sharding_ranks(mesh));
  const auto wanted = *rc::gen::inRange<std::int64_t>(1, most + 1);
  mesh.expert_parallel = model.moe.num_experts > 0 ? std::gcd(most, wanted) : 1;
}

/// A plan of any architecture over the axes of its mesh, and of its experts.
inline Plan any_plan_of_any_architecture() {
  const ModelSpec model = any_architecture();
  const Job job = any_job();
  Layout layout = any_layout(model, job);
  share_out_experts(model, layout.mesh);
  const ClusterSpec cluster = any_cluster(layout);
  return plan_of(model, cluster, job, layout);
}

/// A plan of these, over the axes that the executor has; it has no violations.
inline Plan any_plan() {
  const ModelSpec model = any_model();
  const Job job = any_job();
  Layout layout = any_layout(model, job);
  const ClusterSpec cluster = any_cluster(layout);
  return plan_of(model, cluster, job, layout);
}

/// What of the layout and the job the executor does not run, as far as mesh and cluster allow, but
/// for stages.
inline void add_any_options(const ClusterSpec& cluster, Job& job, Layout& layout) {
  const bool within_node = cluster.devices_per_node % layout.mesh.sizes[Axis::kTp] == 0;
  layout.async_tp = *rc::gen::arbitrary<bool>() && layout.sequence_parallel && within_node;
  if (*rc::gen::arbitrary<bool>() && cluster.device.float8_peak.value > 0)
    job.matmul_dtype = common::DataType::kFloat8;
  if (*rc::gen::arbitrary<bool>() && job.master_dtype == common::DataType::kFloat32)
    job.moment_dtype = common::DataType::kBfloat16;
  layout.optimizer_offload = *rc::gen::arbitrary<bool>() && cluster.device.kind == DeviceKind::kGpu;
}

/// Microbatches below `end` that the layout's schedule can run; below its stages times that where
/// it is interleaved.
inline std::int64_t any_accumulation(const Layout& layout, std::int64_t end) {
  const std::int64_t rounds = *rc::gen::inRange<std::int64_t>(1, end);
  return layout.virtual_stages > 1 ? rounds * layout.mesh.sizes[Axis::kPp] : rounds;
}

/// A plan of so many stages and chunks of each, over context as well and with every option.
inline Plan any_plan_of_stages(const ModelSpec& model, std::int64_t pp,
                               std::int64_t virtual_stages) {
  Job job = any_job();
  Layout layout = any_layout(model, job);
  AxisSizes& sizes = layout.mesh.sizes;
  sizes[Axis::kPp] = pp;
  layout.virtual_stages = virtual_stages;
  if (virtual_stages > 1) layout.accumulation *= pp;
  const bool divides = job.seq_length % 4 == 0 && layout.sharding != Sharding::kNoShard;
  if (divides) sizes[Axis::kCp] = *rc::gen::element<std::int64_t>(1, 2);
  if (microbatch_tokens(layout, job) % sizes[Axis::kTp] != 0) layout.sequence_parallel = false;
  layout.loss_chunks = std::min(layout.loss_chunks, microbatch_tokens(layout, job));
  share_out_experts(model, layout.mesh);
  const ClusterSpec cluster = any_cluster(layout);
  add_any_options(cluster, job, layout);
  return plan_of(model, cluster, job, layout);
}

inline Plan any_interleaved_plan() {
  const auto pp = *rc::gen::inRange<std::int64_t>(2, 5);
  const auto virtual_stages = *rc::gen::inRange<std::int64_t>(2, 4);
  ModelSpec model = any_model();
  model.num_hidden_layers += pp * virtual_stages - 1;
  return any_plan_of_stages(model, pp, virtual_stages);
}

/// A plan of the model over every axis, with every option.
inline Plan any_plan_over_all_axes(const ModelSpec& model) {
  if (*rc::gen::inRange(0, 4) == 3) return any_interleaved_plan();
  const auto pp = *rc::gen::element<std::int64_t>(1, 2, 3, 5);
  return any_plan_of_stages(model, std::min(model.num_hidden_layers, pp), 1);
}
inline Plan any_plan_over_all_axes() { return any_plan_over_all_axes(any_architecture()); }

/// A plan of the feed-forward demo; it has no violations.
inline Plan any_feed_forward_plan() {
  const auto size = [] { return *rc::gen::inRange<std::int64_t>(1, 40); };
  const Job job = any_job();
  Layout layout = any_layout(small_model(1), job);
  layout.sequence_parallel = false;
  layout.activation_checkpointing = ActivationCheckpointing::kNone;
  layout.loss_chunks = 1;
  const ModelSpec model = feed_forward_model(size(), size() * layout.mesh.sizes[Axis::kTp]);
  const ClusterSpec cluster = any_cluster(layout);
  return plan_of(model, cluster, job, layout);
}

}  // namespace meshplan::planner

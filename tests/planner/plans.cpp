#include "tests/planner/plans.h"

namespace meshplan::planner {

ModelSpec small_model(std::int64_t blocks) {
  ModelSpec model;
  model.name = "small";
  model.family = ModelFamily::kQwen2;
  model.hidden_size = 64;
  model.intermediate_size = 256;
  model.num_hidden_layers = blocks;
  model.num_attention_heads = 8;
  model.num_key_value_heads = 4;
  model.head_dim = 16;
  model.vocab_size = 512;
  model.max_position_embeddings = 4096;
  model.qkv_bias = true;
  return model;
}

ModelSpec feed_forward_model(std::int64_t hidden_size, std::int64_t intermediate_size) {
  ModelSpec model;
  model.name = "feed-forward";
  model.family = ModelFamily::kFeedForward;
  model.hidden_size = hidden_size;
  model.intermediate_size = intermediate_size;
  model.num_hidden_layers = 1;
  return model;
}

Layout layout_of(const MeshSizes& sizes) {
  Layout layout;
  layout.mesh.sizes[Axis::kDpReplicate] = sizes.dp_replicate;
  layout.mesh.sizes[Axis::kDpShard] = sizes.dp_shard;
  layout.mesh.sizes[Axis::kTp] = sizes.tp;
  layout.mesh.ranks_per_node = world_size(layout.mesh);
  layout.microbatch_size = 2;
  return layout;
}

Job small_job() {
  Job job;
  job.seq_length = 128;
  return job;
}

ClusterSpec cpu_cluster(const Layout& layout) {
  ClusterSpec cluster = load_cluster("local-cpu");
  cluster.devices_per_node = world_size(layout.mesh);
  return cluster;
}

Plan plan_of(const ModelSpec& model, const ClusterSpec& cluster, const Job& job,
             const Layout& layout) {
  return {.model = model,
          .model_source = model.name,
          .cluster = cluster,
          .job = job,
          .layout = layout,
          .estimate = estimate(model, cluster, job, layout)};
}

}  // namespace meshplan::planner

#include "planner/layout/rules.h"

#include <fmt/format.h>

#include <limits>

namespace meshplan::planner {
namespace {

/// Divisors of `number` up to 64, as "1, 2, 4 or 8": what a tp size may be.
std::string divisors(std::int64_t number) {
  std::vector<std::int64_t> found;
  for (std::int64_t d = 1; d <= std::min<std::int64_t>(number, 64); ++d) {
    if (number % d == 0) found.push_back(d);
  }
  std::string text;
  for (std::size_t i = 0; i < found.size(); ++i) {
    if (i > 0) text += i + 1 == found.size() ? " or " : ", ";
    text += std::to_string(found[i]);
  }
  return text;
}

class Rules {
 public:
  void require(bool holds, const char* code, const std::string& message) {
    if (!holds) broken_.push_back({code, message});
  }

  /// False, and reported, when the value is not positive.
  bool positive(const char* name, std::int64_t value) {
    require(value >= 1, "size_positive", fmt::format("{}={}: must be at least 1", name, value));
    return value >= 1;
  }

  void divides(std::int64_t tp, const char* name, std::int64_t size) {
    require(size % tp == 0, fmt::format("tp_divides_{}", name).c_str(),
            fmt::format("tp={}: must divide {}={}; use {}", tp, name, size, divisors(size)));
  }

  std::vector<Violation> take() { return std::move(broken_); }

 private:
  std::vector<Violation> broken_;
};

/// The product of the axes, or nothing when it does not fit: sizes come from flags.
bool world_fits(const DeviceMesh& mesh, std::int64_t& world) {
  world = 1;
  for (Axis axis : kAxes) {
    if (__builtin_mul_overflow(world, mesh.sizes[axis], &world)) return false;
  }
  return world <= std::numeric_limits<std::int32_t>::max();
}

void check_model(Rules& rules, const ModelSpec& model, std::int64_t tp) {
  rules.require(model.num_attention_heads > 0, "attention_heads_known",
                "the model has neither num_key_value_heads nor num_attention_heads, so tp cannot be checked against them; "
                "add num_attention_heads to its config.json");
  if (model.num_key_value_heads > 0) {
    rules.divides(tp, "num_key_value_heads", model.num_key_value_heads);
  }
  if (model.num_attention_heads > 0) {
    rules.divides(tp, "num_attention_heads", model.num_attention_heads);
  }
  rules.divides(tp, "intermediate_size", model.intermediate_size);
}

void check_supported(Rules& rules, const Layout& layout, const Job& job) {
  rules.require(layout.mesh.sizes[Axis::kPp] == 1, "pp_supported",
                fmt::format("pp={}: pipeline parallelism is not built yet; use 1", layout.mesh.sizes[Axis::kPp]));
  rules.require(layout.mesh.sizes[Axis::kCp] == 1, "cp_supported",
                fmt::format("cp={}: context parallelism is not built yet; use 1", layout.mesh.sizes[Axis::kCp]));
  rules.require(layout.sharding == Sharding::kFullShard, "sharding_supported",
                fmt::format("sharding={}: is not built yet; use full_shard", to_string(layout.sharding)));
  rules.require(!layout.sequence_parallel, "sequence_parallel_supported",
                "sequence_parallel=on: is not built yet; use off");
  rules.require(layout.activation_checkpointing == ActivationCheckpointing::kNone, "activation_checkpointing_supported",
                fmt::format("activation_checkpointing={}: is not built yet; use none",
                            to_string(layout.activation_checkpointing)));
  rules.require(job.param_dtype != common::DataType::kFloat16, "param_dtype_supported",
                "param_dtype=float16: needs loss scaling, which is not built yet; use bfloat16 or float32");
  rules.require(job.reduce_dtype == common::DataType::kFloat32, "reduce_dtype_supported",
                fmt::format("reduce_dtype={}: is not built yet; use float32", common::to_string(job.reduce_dtype)));
}

}  // namespace

std::vector<Violation> violations(const ModelSpec& model, const Job& job, const Layout& layout) {
  Rules rules;
  bool sized = true;
  for (Axis axis : kAxes) sized &= rules.positive(to_string(axis), layout.mesh.sizes[axis]);
  sized &= rules.positive("microbatch_size", layout.microbatch_size);
  sized &= rules.positive("accumulation", layout.accumulation);
  sized &= rules.positive("loss_chunks", layout.loss_chunks);
  sized &= rules.positive("seq_length", job.seq_length);
  if (!sized) return rules.take();

  std::int64_t world = 0;
  rules.require(world_fits(layout.mesh, world), "world_size_bounded",
                "the product of the axes is beyond 2^31 ranks; use smaller axes");
  std::int64_t tokens = 0;
  const bool tokens_fit = !__builtin_mul_overflow(layout.microbatch_size, job.seq_length, &tokens) && tokens < (1ll << 31);
  rules.require(tokens_fit, "microbatch_bounded",
                fmt::format("microbatch_size={} x seq_length={}: a microbatch has at most 2^31 tokens; use less",
                            layout.microbatch_size, job.seq_length));
  rules.require(layout.accumulation <= (1 << 20), "accumulation_bounded",
                fmt::format("accumulation={}: at most {}; use a larger microbatch", layout.accumulation, 1 << 20));
  rules.require(!tokens_fit || layout.loss_chunks <= tokens, "loss_chunks_bounded",
                fmt::format("loss_chunks={}: at most the {} tokens of a microbatch", layout.loss_chunks, tokens));
  rules.require(layout.blocks_kept_gathered >= 0 && layout.blocks_kept_gathered <= model.num_hidden_layers,
                "blocks_kept_gathered_bounded",
                fmt::format("blocks_kept_gathered={}: must be from 0 to num_hidden_layers={}",
                            layout.blocks_kept_gathered, model.num_hidden_layers));
  if (model.sliding_window > 0) {
    rules.require(job.seq_length <= model.sliding_window, "seq_length_within_window",
                  fmt::format("seq_length={}: at most sliding_window={}, as windowed attention is not built yet",
                              job.seq_length, model.sliding_window));
  }
  if (model.max_position_embeddings > 0) {
    rules.require(job.seq_length <= model.max_position_embeddings, "seq_length_within_positions",
                  fmt::format("seq_length={}: at most max_position_embeddings={}", job.seq_length,
                              model.max_position_embeddings));
  }
  check_model(rules, model, layout.mesh.sizes[Axis::kTp]);
  check_supported(rules, layout, job);
  return rules.take();
}

std::vector<Violation> violations(const ModelSpec& model, const ClusterSpec& cluster, const Job& job,
                                  const Layout& layout) {
  std::vector<Violation> found = violations(model, job, layout);
  const AxisSizes& sizes = layout.mesh.sizes;
  std::int64_t world = 0;
  if (world_fits(layout.mesh, world) && world != world_size(cluster)) {
    found.push_back({"world_size", fmt::format("dp_replicate={} x dp_shard={} x tp={} = {}: must equal the cluster's {} "
                                               "node{} x {} devices = {}; change an axis or the cluster",
                                               sizes[Axis::kDpReplicate], sizes[Axis::kDpShard], sizes[Axis::kTp], world,
                                               cluster.nodes, cluster.nodes == 1 ? "" : "s", cluster.devices_per_node,
                                               world_size(cluster))});
  }
  if (layout.mesh.ranks_per_node != cluster.devices_per_node) {
    found.push_back({"ranks_per_node", fmt::format("ranks_per_node={}: must equal the cluster's devices_per_node={}",
                                                   layout.mesh.ranks_per_node, cluster.devices_per_node)});
  }
  return found;
}

std::string to_string(const std::vector<Violation>& violations) {
  std::string text;
  for (const Violation& violation : violations) text += (text.empty() ? "" : "\n") + violation.message;
  return text;
}

}  // namespace meshplan::planner

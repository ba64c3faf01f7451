#include "planner/runtime/runtime_estimate.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <array>
#include <span>
#include <string_view>

namespace meshplan::planner {
namespace {

/// How a runtime recomputes where a layout says `selective`; kNone: it has nothing of the kind.
struct RuntimeChoices {
  const char* name;
  std::span<const Sharding> shardings;
  std::span<const Axis> axes;
  PeerCheckpointing selective = PeerCheckpointing::kNone;
  /// Whether it can hold all states in bfloat16.
  bool pure = false;
};

constexpr std::array kFsdp = {Sharding::kFullShard, Sharding::kShardGradOp, Sharding::kNoShard,
                              Sharding::kHybridShard, Sharding::kHybridShardZero2};
constexpr std::array kZero1 = {Sharding::kShardOptimizer, Sharding::kNoShard};
constexpr std::array kAllAxes = {Axis::kPp, Axis::kDpReplicate, Axis::kDpShard, Axis::kCp,
                                 Axis::kTp};
constexpr std::array kWithoutContext = {Axis::kPp, Axis::kDpReplicate, Axis::kDpShard, Axis::kTp};
constexpr std::array kDataOnly = {Axis::kDpReplicate, Axis::kDpShard};

constexpr std::array kChoices = {
    RuntimeChoices{"torch_eager", kFsdp, kAllAxes, PeerCheckpointing::kSelectiveOp, true},
    RuntimeChoices{"torch_compile", kFsdp, kAllAxes, PeerCheckpointing::kSelectiveOp, true},
    RuntimeChoices{"torch_aot_eager", kFsdp, kAllAxes, PeerCheckpointing::kSelectiveOp, true},
    RuntimeChoices{"megatron", kZero1, kAllAxes, PeerCheckpointing::kSelectiveAttention},
    RuntimeChoices{"nanotron", kZero1, kWithoutContext},
    RuntimeChoices{"composer_fsdp1", kFsdp, kDataOnly},
};

const RuntimeChoices& choices_of(const RuntimeProfile& runtime) {
  return *std::find_if(kChoices.begin(), kChoices.end(), [&](const RuntimeChoices& choices) {
    return std::string_view(choices.name) == runtime.name;
  });
}

/// Collects what a runtime lacks.
class Lacks {
 public:
  explicit Lacks(const RuntimeProfile& runtime) : runtime_(runtime) {}

  template <class... Arguments>
  void unless(bool holds, const char* code, fmt::format_string<Arguments...> message,
              Arguments&&... arguments) {
    if (holds) return;
    broken_.push_back({code, fmt::format("runtime={}: ", runtime_.name) +
                                 fmt::format(message, std::forward<Arguments>(arguments)...)});
  }

  std::vector<Violation> take() { return std::move(broken_); }

 private:
  const RuntimeProfile& runtime_;
  std::vector<Violation> broken_;
};

void check_layout(Lacks& lacks, const RuntimeChoices& choices, const Layout& layout) {
  std::vector<std::string> shardings;
  for (Sharding sharding : choices.shardings) shardings.emplace_back(to_string(sharding));
  lacks.unless(std::ranges::count(choices.shardings, layout.sharding) > 0, "runtime_sharding",
               "has no sharding={}; use {}", to_string(layout.sharding),
               fmt::join(shardings, ", "));
  for (Axis axis : kAxes) {
    const bool has = std::ranges::count(choices.axes, axis) > 0;
    lacks.unless(has || layout.mesh.sizes[axis] == 1, "runtime_axis", "has no {}={}; use 1",
                 to_string(axis), layout.mesh.sizes[axis]);
  }
  const bool selective = layout.activation_checkpointing == ActivationCheckpointing::kSelective;
  lacks.unless(!selective || choices.selective != PeerCheckpointing::kNone, "runtime_checkpointing",
               "has no activation_checkpointing=selective; use none or "
               "full");
  lacks.unless(!layout.checkpointed_blocks, "runtime_checkpointing",
               "checkpointed_blocks={}: some of the blocks alone are not modelled; leave it out",
               layout.checkpointed_blocks.value_or(0));
}

void check_model(Lacks& lacks, const ModelSpec& model) {
  lacks.unless(model.moe.num_experts == 0, "runtime_model",
               "experts are not modelled; use a model without");
  lacks.unless(model.num_attention_heads > 0 && model.vocab_size > 0, "runtime_model",
               "a decoder alone is modelled; use a model with attention and a vocabulary");
  const auto bounded = [&](const char* name, std::int64_t size, std::int64_t most) {
    lacks.unless(size <= most, "runtime_model", "{}={}: must be at most {}", name, size, most);
  };
  bounded("num_hidden_layers", model.num_hidden_layers, kMaxPeerLayers);
  bounded("hidden_size", model.hidden_size, kMaxPeerWidth);
  bounded("intermediate_size", model.intermediate_size, kMaxPeerWidth);
  bounded("vocab_size", model.vocab_size, kMaxPeerWidth);
}

bool known_network(const ClusterSpec& cluster) {
  return cluster.nodes == 1 || parse_network(cluster.network, cluster.devices_per_node).has_value();
}

std::vector<Violation> runtime_violations(const RuntimeRequest& request) {
  Lacks lacks(*request.runtime);
  const RuntimeChoices& choices = choices_of(*request.runtime);
  check_layout(lacks, choices, request.layout);
  check_model(lacks, request.model);
  lacks.unless(request.job.param_dtype != common::DataType::kFloat32, "runtime_data_type",
               "param_dtype=float32: its runs were fitted in 16 bits; use bfloat16 or float16");
  lacks.unless(request.job.master_dtype == common::DataType::kFloat32 || choices.pure,
               "runtime_data_type", "master_dtype={}: it keeps float32; use float32",
               common::to_string(request.job.master_dtype));
  lacks.unless(find_gpu_of(request.cluster.device) != nullptr, "runtime_device",
               "device '{:.60}': nothing was fitted for it; use a GPU of the catalog",
               request.cluster.device.name);
  lacks.unless(known_network(request.cluster), "runtime_network",
               "network '{:.60}': nothing was fitted for it; use an efa, roce or ib network, as "
               "--network roce-400-per-gpu",
               request.cluster.network);
  return lacks.take();
}

PeerModel peer_model(const ModelSpec& model) {
  return {.num_hidden_layers = model.num_hidden_layers,
          .hidden_size = model.hidden_size,
          .intermediate_size = model.intermediate_size,
          .gated_mlp = model.gated_feed_forward,
          .num_attention_heads = model.num_attention_heads,
          .num_key_value_heads = model.num_key_value_heads,
          .head_dim = model.head_dim,
          .vocab_size = model.vocab_size,
          .tie_word_embeddings = model.tie_word_embeddings};
}

PeerCheckpointing peer_checkpointing(const RuntimeChoices& choices, const Layout& layout) {
  switch (layout.activation_checkpointing) {
    case ActivationCheckpointing::kNone:
      return PeerCheckpointing::kNone;
    case ActivationCheckpointing::kSelective:
      return choices.selective;
    case ActivationCheckpointing::kFull:
      return PeerCheckpointing::kFull;
  }
  return PeerCheckpointing::kNone;
}

PeerRun peer_run(const RuntimeRequest& request) {
  constexpr double kPureStateBytes = 8;
  PeerRun run;
  run.runtime = request.runtime;
  run.hardware.gpu = find_gpu_of(request.cluster.device);
  run.hardware.network = parse_network(request.cluster.network, request.cluster.devices_per_node)
                             .value_or(usual_network(*run.hardware.gpu));
  run.model = peer_model(request.model);
  run.mesh = request.layout.mesh;
  run.sharding = without_replicas(request.layout.sharding);
  run.sequence_parallel = request.layout.sequence_parallel;
  run.chunked_loss = request.chunked_loss;
  run.checkpointing = peer_checkpointing(choices_of(*request.runtime), request.layout);
  run.microbatch_size = request.layout.microbatch_size;
  run.accumulation = request.layout.accumulation;
  run.seq_length = request.job.seq_length;
  const bool pure = request.job.master_dtype != common::DataType::kFloat32;
  run.state_bytes_per_parameter =
      pure ? kPureStateBytes : request.runtime->state_bytes_per_parameter;
  return run;
}

const char* to_string(PeerCheckpointing checkpointing) {
  switch (checkpointing) {
    case PeerCheckpointing::kNone:
      return "none";
    case PeerCheckpointing::kFull:
      return "full";
    case PeerCheckpointing::kSelectiveOp:
      return "selective_op";
    case PeerCheckpointing::kSelectiveAttention:
      return "selective_attention";
    case PeerCheckpointing::kSelectiveGraph:
      return "selective_graph";
    case PeerCheckpointing::kSecondBlocks:
      return "selective_layer_2";
  }
  return "none";
}

}  // namespace

RuntimeEstimate estimate(const RuntimeRequest& request) {
  RuntimeEstimate result;
  result.runtime = request.runtime->name;
  Estimate own = estimate(request.model, request.cluster, request.job, request.layout);
  result.violations = std::move(own.violations);
  for (Violation& violation : runtime_violations(request))
    result.violations.push_back(std::move(violation));
  if (!result.violations.empty()) return result;
  result.run = peer_run(request);
  result.peer = estimate(result.run);
  result.capacity = request.cluster.device.memory;
  result.fits = result.peer.peak_reserved <= result.capacity;
  result.first_order = own.first_order;
  result.model_flops = own.model_flops;
  result.mfu =
      own.model_flops.value / (matmul_peak(request.cluster.device, request.job.param_dtype).value *
                               result.peer.step_time.value);
  result.cost = token_cost(request.cluster, result.peer.tokens_per_second_per_gpu);
  return result;
}

common::Json to_json(const RuntimeEstimate& estimate) {
  common::Json json = {{"schema_version", 1},
                       {"runtime", estimate.runtime},
                       {"valid", estimate.violations.empty()},
                       {"violations", to_json(estimate.violations)},
                       {"fits", estimate.fits}};
  if (!estimate.violations.empty()) return json;
  json["memory"] = {{"peak_allocated_bytes", estimate.peer.peak_allocated.value},
                    {"peak_reserved_bytes", estimate.peer.peak_reserved.value},
                    {"capacity_bytes", estimate.capacity.value}};
  json["first_order"] = to_json(estimate.first_order);
  json["compute"] = {{"model_flops_per_rank", estimate.model_flops.value}};
  json["step_time_s"] = estimate.peer.step_time.value;
  json["tokens_per_second_per_gpu"] = estimate.peer.tokens_per_second_per_gpu;
  json["mfu"] = estimate.mfu;
  if (const common::Json cost = to_json(estimate.cost); !cost.empty()) json["cost"] = cost;
  json["assumed"] = {{"activation_checkpointing", to_string(estimate.run.checkpointing)},
                     {"state_bytes_per_parameter", estimate.run.state_bytes_per_parameter},
                     {"chunked_loss", estimate.run.chunked_loss},
                     {"gpu", estimate.run.hardware.gpu->name}};
  return json;
}

}  // namespace meshplan::planner

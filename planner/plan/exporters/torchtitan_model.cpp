#include <fmt/format.h>
#include <fmt/ranges.h>

#include "planner/layout/stage.h"
#include "planner/plan/exporters/quoting.h"
#include "planner/plan/exporters/torchtitan.h"

namespace meshplan::planner {
namespace {

struct Flavor {
  const char* name;
  std::int64_t hidden_size, intermediate_size, blocks, heads;
};

/// torchtitan/models/llama3: 128,256 tokens, 8 key and value heads, theta 500,000, Llama 3.1's
/// stretched rotary angles, epsilon 1e-5, an output head of its own.
constexpr std::array kFlavors = {Flavor{"8B", 4096, 14336, 32, 32},
                                 Flavor{"70B", 8192, 28672, 80, 64},
                                 Flavor{"405B", 16384, 53248, 126, 128}};

/// Llama 3.1's: factor 8 of 8,192 positions.
bool is_llama_31(const RopeSpec& rope) {
  return rope.theta == 500000 && rope.scaling == RopeScaling::kLlama3 && rope.factor == 8 &&
         rope.low_freq_factor == 1 && rope.high_freq_factor == 4 &&
         rope.original_max_position_embeddings == 8192 && rope.rotated_part == 1;
}

}  // namespace

const char* torchtitan_flavor(const ModelSpec& model) {
  const bool llama3 = model.family == ModelFamily::kLlama && model.vocab_size == 128256 &&
                      model.num_key_value_heads == 8 && model.head_dim == 128 &&
                      !model.tie_word_embeddings && is_llama_31(model.rope) &&
                      model.rms_norm_eps == 1e-5 && model.moe.num_experts == 0 &&
                      static_cast<const ModelTraits&>(model) == ModelTraits{};
  for (const Flavor& flavor : kFlavors) {
    if (llama3 && flavor.hidden_size == model.hidden_size &&
        flavor.intermediate_size == model.intermediate_size &&
        flavor.blocks == model.num_hidden_layers && flavor.heads == model.num_attention_heads)
      return flavor.name;
  }
  return nullptr;
}

const char* torchtitan_reshard(const Plan& plan) {
  if (stays_gathered(plan)) return "never";
  return plan.layout.mesh.sizes[Axis::kPp] > 1 ? "always" : "default";
}

std::string torchtitan_model_parts(const Plan& plan, const char* head) {
  std::vector<std::string> parts;
  const std::int64_t stages = plan.layout.mesh.sizes[Axis::kPp];
  for (std::int64_t number = 0; number < stages * plan.layout.virtual_stages; ++number) {
    const auto chunk = static_cast<std::size_t>(number / stages);
    const Chunk blocks = chunks_of(plan.model, plan.layout, number % stages)[chunk];
    std::vector<std::string> modules;
    if (number == 0) modules.push_back(literal("tok_embeddings"));
    for (std::int64_t block = 0; block < blocks.blocks; ++block)
      modules.push_back(literal(fmt::format("layers.{}", blocks.first_block + block)));
    if (number + 1 == stages * plan.layout.virtual_stages) {
      modules.push_back(literal("norm"));
      modules.push_back(literal(head));
    }
    parts.push_back(fmt::format("    [{}],\n", fmt::join(modules, ", ")));
  }
  return fmt::format("[\n{}]", fmt::join(parts, ""));
}

std::vector<std::string> torchtitan_refusals(const Plan& plan) {
  std::vector<std::string> refused;
  const AxisSizes& sizes = plan.layout.mesh.sizes;
  if (torchtitan_flavor(plan.model) == nullptr) {
    refused.push_back(fmt::format(
        "model={}: none of its Llama 3.1 flavors 8B, 70B and 405B; plan for one of these",
        plain(plan.model.name)));
  }
  if (sizes[Axis::kDpReplicate] > 1 && sharding_ranks(plan.layout.mesh) == 1 &&
      sizes[Axis::kTp] * sizes[Axis::kPp] > 1) {
    refused.push_back(
        fmt::format("dp_replicate={} with tp={} and pp={}: plain replicas have no other axis "
                    "beside them; plan with --dp-shard above 1",
                    sizes[Axis::kDpReplicate], sizes[Axis::kTp], sizes[Axis::kPp]));
  }
  if (stays_gathered(plan) && sharding_ranks(plan.layout.mesh) > 1 && sizes[Axis::kPp] == 1 &&
      plan.layout.accumulation > 1) {
    refused.push_back(fmt::format(
        "sharding={} with accumulation={}: FSDP2 gathers anew for each microbatch; plan "
        "with --sharding full_shard, or --accumulation 1",
        to_string(plan.layout.sharding), plan.layout.accumulation));
  }
  const bool sharded = sharding_ranks(plan.layout.mesh) > 1 && plan.layout.accumulation > 1;
  if (sizes[Axis::kPp] > 1 && sharded && !accumulates_whole_gradients(plan.layout)) {
    refused.push_back(
        fmt::format("gradient_accumulation=sharded with pp={}: a pipeline's gradients are kept "
                    "whole and reduced once; plan with --gradient-accumulation unsharded",
                    sizes[Axis::kPp]));
  }
  if (sizes[Axis::kPp] == 1 && sharded && accumulates_whole_gradients(plan.layout)) {
    refused.push_back(
        "gradient_accumulation=unsharded without pp: gradients are reduced with each microbatch; "
        "plan with --gradient-accumulation sharded");
  }
  return refused;
}

}  // namespace meshplan::planner

#include "planner/plan/exporters/exporter.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>

#include "common/complaints.h"
#include "planner/layout/rules.h"
#include "planner/model/feed_forward_model.h"
#include "planner/plan/exporters/quoting.h"
#include "planner/plan/exporters/targets.h"

namespace meshplan::planner {
namespace {

std::vector<std::string> target_names() {
  std::vector<std::string> names;
  for (const ExportTarget& target : export_targets()) names.emplace_back(target.name);
  return names;
}

/// What the file is, one line each.
std::vector<std::string> header(const Plan& plan, const ExportTarget& target,
                                const std::vector<std::string>& for_the_script) {
  std::string mesh;
  for (Axis axis : kMeshAxes)
    mesh += fmt::format("{}{} {}", mesh.empty() ? "" : " x ", to_string(axis),
                        plan.layout.mesh.sizes[axis]);
  std::vector<std::string> lines = {
      fmt::format("For {}; written by meshplan " MESHPLAN_VERSION, target.version),
      fmt::format("{} on {}: {}", plain(plan.model.name), plain(plan.cluster.name), mesh)};
  if (!for_the_script.empty()) lines.emplace_back("Not said by this file, tell the script:");
  for (const std::string& line : for_the_script) lines.push_back("  " + line);
  return lines;
}

}  // namespace

std::span<const ExportTarget> export_targets() {
  static const std::array kTargets = {kTorchtitan, kTorchtitan03, kTorchtitanMain,
                                      kLightning,  kRayTrain,     kMegatron,
                                      kAccelerate, kDeepspeed,    kNanotron};
  return kTargets;
}

const ExportTarget& find_export_target(const std::string& name, const std::string& where) {
  for (const ExportTarget& target : export_targets()) {
    if (name == target.name) return target;
  }
  throw common::Error(
      common::ErrorCode::kInvalidInput,
      fmt::format("{:.40}: must be one of {}", plain(name), fmt::join(target_names(), ", ")),
      where);
}

bool expresses(const ExportTarget& target, Choice choice) {
  return std::find(target.choices.begin(), target.choices.end(), choice) != target.choices.end();
}

std::vector<std::string> refusals(const Plan& plan, const ExportTarget& target) {
  if (is_feed_forward(plan.model))
    return {"model=feed_forward: the feed-forward demo is no decoder; export another model's plan"};
  std::vector<std::string> refused;
  for (const ChoiceRule& rule : choice_rules()) {
    if (!expresses(target, rule.choice) && rule.made(plan)) refused.push_back(rule.refusal(plan));
  }
  for (std::string& line : target.refusals(plan)) refused.push_back(std::move(line));
  return refused;
}

std::optional<Plan> nearest_exportable(const Plan& plan, const ExportTarget& target) {
  if (is_feed_forward(plan.model)) return std::nullopt;
  Plan near = plan;
  for (const ChoiceRule& rule : choice_rules()) {
    if (expresses(target, rule.choice) || !rule.made(near)) continue;
    if (rule.without == nullptr) return std::nullopt;
    rule.without(near);
  }
  // A target that has pieces of the loss may not have as many.
  for (const std::int64_t chunks : {near.layout.loss_chunks, std::int64_t{8}, std::int64_t{1}}) {
    near.layout.loss_chunks = chunks;
    if (!refusals(near, target).empty() ||
        !violations(near.model, near.cluster, near.job, near.layout).empty())
      continue;
    near.estimate = estimate(near.model, near.cluster, near.job, near.layout);
    return near;
  }
  return std::nullopt;
}

std::string default_file_name(const ExportTarget& target) {
  const std::string format = target.format;
  const auto suffix = [&] {
    if (format == "Python") return "py";
    if (format == "bash") return "sh";
    if (format == "TOML") return "toml";
    return format == "YAML" ? "yaml" : "json";
  };
  return fmt::format("planned.{}", suffix());
}

Export export_plan(const Plan& plan, const ExportTarget& target) {
  common::Complaints complaints;
  for (const std::string& line : refusals(plan, target))
    complaints.add("", fmt::format("{} cannot express {}", target.name, line));
  if (!complaints.empty())
    complaints.add(
        "", fmt::format("meshplan plan --for {} ... looks for what it can express", target.name));
  complaints.throw_if_any(fmt::format("--to {}", target.name));

  Export exported = target.write(plan);
  const std::vector<std::string> lines = header(plan, target, exported.for_the_script);
  if (std::string(target.format) == "JSON") {
    exported.for_the_script.insert(exported.for_the_script.begin(), lines.begin(),
                                   lines.begin() + 2);
    return exported;
  }
  std::string text;
  // The kernel reads the first line of a script.
  if (exported.text.starts_with("#!")) {
    const std::size_t end = exported.text.find('\n') + 1;
    text = exported.text.substr(0, end);
    exported.text.erase(0, end);
  }
  for (const std::string& line : lines) text += "# " + line + "\n";
  exported.text = text + exported.text;
  return exported;
}

bool stays_gathered(const Plan& plan) {
  return without_replicas(plan.layout.sharding) != Sharding::kFullShard;
}

bool checkpoints_fully(const Plan& plan) {
  return plan.layout.activation_checkpointing == ActivationCheckpointing::kFull &&
         plan.layout.checkpointed_blocks != 0;
}

std::vector<std::string> batch_for_the_script(const Plan& plan) {
  return {fmt::format("sequences of {} tokens", plan.job.seq_length),
          fmt::format("{} sequences a data-parallel rank and forward pass",
                      plan.layout.microbatch_size),
          fmt::format("gradient accumulation over {} forward passes", plan.layout.accumulation),
          plan.job.max_grad_norm > 0
              ? fmt::format("clip gradients to the norm {}", plan.job.max_grad_norm)
              : std::string("do not clip gradients"),
          fmt::format("weight decay for {}", plan.job.decay_norms_and_biases
                                                 ? "all parameters"
                                                 : "matrices only, no norms and biases")};
}

std::int64_t node_count(const Plan& plan) {
  return (world_size(plan.layout.mesh) - 1) / plan.layout.mesh.ranks_per_node + 1;
}

const char* block_class(const ModelSpec& model) {
  switch (model.family) {
    case ModelFamily::kLlama:
      return "LlamaDecoderLayer";
    case ModelFamily::kMistral:
      return "MistralDecoderLayer";
    case ModelFamily::kMixtral:
      return "MixtralDecoderLayer";
    case ModelFamily::kQwen2:
      return "Qwen2DecoderLayer";
    case ModelFamily::kQwen3:
      return "Qwen3DecoderLayer";
    case ModelFamily::kQwen3Moe:
      return "Qwen3MoeDecoderLayer";
    default:
      return nullptr;
  }
}

std::vector<std::string> beyond_llama_blocks(const ModelSpec& model, const BlockTraits& has) {
  std::vector<std::string> beyond;
  const auto refuse = [&](bool refused, const std::string& what) {
    if (refused)
      beyond.push_back(
          fmt::format("model={}: {}; export a plan of another model", plain(model.name), what));
  };
  const ModelTraits llama;
  ModelTraits traits = model;
  if (has.qkv_bias) traits.qkv_bias = false;
  if (has.qk_norm && traits.qk_norm_shape == QkNormShape::kSharedHead) traits.qk_norm = false;
  refuse(traits != llama,
         fmt::format("blocks of the family {} are not Llama's{}{}", to_string(model.family),
                     has.qkv_bias ? ", with biases of queries, keys and values" : "",
                     has.qk_norm ? ", with norms of queries and keys" : ""));
  refuse(model.activation != "silu",
         fmt::format("activation {} is not silu", plain(model.activation).substr(0, 40)));
  refuse(model.moe.num_experts > 0 && !has.experts, "no mixture of experts");
  refuse(model.embedding_size != 0 && model.embedding_size != model.hidden_size,
         "no projected embedding");
  refuse(
      model.rope.scaling == RopeScaling::kOther,
      fmt::format("rope scaling {} is not known", plain(model.rope.other_scaling).substr(0, 40)));
  refuse(model.attention_dropout != 0, "no dropout of attention");
  return beyond;
}

}  // namespace meshplan::planner

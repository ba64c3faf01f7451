#include "planner/plan/plan.h"

#include "common/error.h"
#include "common/file.h"

namespace meshplan::planner {
namespace {

using common::Json;
using common::JsonObject;

constexpr std::int64_t kSchemaVersion = 1;

Job read_job(const JsonObject& json) {
  Job job;
  job.seq_length = json.integer("seq_length");
  job.param_dtype =
      common::parse_data_type(json.text("param_dtype"), json.where() + ".param_dtype");
  job.reduce_dtype =
      common::parse_data_type(json.text("reduce_dtype"), json.where() + ".reduce_dtype");
  job.master_dtype = common::parse_data_type(json.text_or("master_dtype", "float32"),
                                             json.where() + ".master_dtype");
  job.loss_normalization = parse_loss_normalization(json.text("loss_normalization"),
                                                    json.where() + ".loss_normalization");
  job.max_grad_norm = json.number("max_grad_norm", 0);
  job.decay_norms_and_biases = json.flag("decay_norms_and_biases");
  json.reject_unknown_keys();
  return job;
}

Layout read_layout(const JsonObject& json) {
  Layout layout;
  for (Axis axis : kAxes) layout.mesh.sizes[axis] = json.integer(to_string(axis));
  layout.mesh.ranks_per_node = json.integer("ranks_per_node", 1);
  layout.sharding = parse_sharding(json.text("sharding"), json.where() + ".sharding");
  layout.gradient_accumulation = parse_gradient_accumulation(
      json.text_or("gradient_accumulation", "sharded"), json.where() + ".gradient_accumulation");
  layout.sequence_parallel = json.flag("sequence_parallel");
  layout.activation_checkpointing = parse_activation_checkpointing(
      json.text("activation_checkpointing"), json.where() + ".activation_checkpointing");
  if (!json.is_null("checkpointed_blocks"))
    layout.checkpointed_blocks = json.integer("checkpointed_blocks");
  layout.microbatch_size = json.integer("microbatch_size");
  layout.accumulation = json.integer("accumulation");
  layout.loss_chunks = json.integer("loss_chunks");
  layout.blocks_kept_gathered = json.integer("blocks_kept_gathered");
  json.reject_unknown_keys();
  return layout;
}

}  // namespace

Json to_json(const Job& job) {
  return {{"seq_length", job.seq_length},
          {"param_dtype", common::to_string(job.param_dtype)},
          {"reduce_dtype", common::to_string(job.reduce_dtype)},
          {"master_dtype", common::to_string(job.master_dtype)},
          {"loss_normalization", to_string(job.loss_normalization)},
          {"max_grad_norm", job.max_grad_norm},
          {"decay_norms_and_biases", job.decay_norms_and_biases}};
}

Json to_json(const Layout& layout) {
  Json json;
  for (Axis axis : kAxes) json[to_string(axis)] = layout.mesh.sizes[axis];
  json["ranks_per_node"] = layout.mesh.ranks_per_node;
  json["sharding"] = to_string(layout.sharding);
  json["gradient_accumulation"] = to_string(layout.gradient_accumulation);
  json["sequence_parallel"] = layout.sequence_parallel;
  json["activation_checkpointing"] = to_string(layout.activation_checkpointing);
  json["checkpointed_blocks"] =
      layout.checkpointed_blocks ? Json(*layout.checkpointed_blocks) : Json();
  json["microbatch_size"] = layout.microbatch_size;
  json["accumulation"] = layout.accumulation;
  json["loss_chunks"] = layout.loss_chunks;
  json["blocks_kept_gathered"] = layout.blocks_kept_gathered;
  return json;
}

Json to_json(const Plan& plan) {
  return {{"schema_version", kSchemaVersion},  {"model", to_json(plan.model)},
          {"model_source", plan.model_source}, {"cluster", to_json(plan.cluster)},
          {"job", to_json(plan.job)},          {"layout", to_json(plan.layout)},
          {"estimate", to_json(plan.estimate)}};
}

Plan read_plan(const Json& json, const std::string& where) {
  const JsonObject object(json, where);
  if (const std::int64_t version = object.integer("schema_version"); version != kSchemaVersion) {
    throw common::Error(common::ErrorCode::kInvalidInput,
                        "is " + std::to_string(version) + "; this program reads " +
                            std::to_string(kSchemaVersion) +
                            ": make the plan again with this version",
                        where + ".schema_version");
  }
  Plan plan{.model = read_model_config(object.at("model"), where + ".model"),
            .model_source = object.text("model_source"),
            .cluster = read_cluster(object.at("cluster"), where + ".cluster"),
            .job = read_job(object.object("job")),
            .layout = read_layout(object.object("layout")),
            .estimate = read_estimate(object.object("estimate"))};
  object.reject_unknown_keys();
  if (const auto broken = violations(plan.model, plan.cluster, plan.job, plan.layout);
      !broken.empty()) {
    throw common::Error(common::ErrorCode::kInvalidInput, to_string(broken), where + ".layout");
  }
  return plan;
}

Plan load_plan(const std::filesystem::path& path) {
  return read_plan(common::read_json_file(path), path.string());
}

void save_plan(const Plan& plan, const std::filesystem::path& path) {
  common::write_file(path, to_json(plan).dump(2) + "\n");
}

}  // namespace meshplan::planner

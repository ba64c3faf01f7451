#include "planner/plan/plan.h"

#include <optional>

#include "common/complaints.h"
#include "common/error.h"
#include "common/file.h"

namespace meshplan::planner {
namespace {

using common::Complaints;
using common::Json;
using common::JsonObject;

constexpr std::int64_t kSchemaVersion = 1;
/// Left out where it is 1.
constexpr const char* kExpertParallel = "expert_parallel";

/// The fields of one object of a plan; what is wrong with one becomes a complaint.
struct Fields {
  const JsonObject& json;
  Complaints& complaints;

  std::int64_t integer(const char* key, std::int64_t min = 1) const {
    return complaints.of([&] { return json.integer(key, min); });
  }
  std::int64_t integer_or(const char* key, std::int64_t fallback, std::int64_t min) const {
    return complaints.of([&] { return json.integer_or(key, fallback, min); });
  }
  bool flag_or(const char* key, bool fallback) const {
    return complaints.of([&] { return json.flag_or(key, fallback); });
  }
  /// Nothing where it is left out, or what follows from the rest anyway.
  template <class Parse>
  auto optional_type(const char* key, const Parse& parse, common::DataType otherwise) const {
    std::optional<common::DataType> type;
    if (!json.is_null(key)) type = choice(key, parse);
    return type == otherwise ? std::nullopt : type;
  }
  bool flag(const char* key) const {
    return complaints.of([&] { return json.flag(key); });
  }
  /// What `parse` makes of a text, which may be left out where there is a fallback.
  template <class Parse>
  auto choice(const char* key, const Parse& parse, const char* fallback = nullptr) const {
    return complaints.of([&] {
      const std::string text = fallback == nullptr ? json.text(key) : json.text_or(key, fallback);
      return parse(text, json.where() + "." + key);
    });
  }
  void reject_unknown_keys() const {
    complaints.of([&] { json.reject_unknown_keys(); });
  }
};

Job read_job(const JsonObject& json, Complaints& complaints) {
  const Fields fields{json, complaints};
  Job job;
  job.seq_length = fields.integer("seq_length");
  job.param_dtype = fields.choice("param_dtype", common::parse_data_type);
  job.matmul_dtype = fields.optional_type("matmul_dtype", parse_matmul_dtype, job.param_dtype);
  job.reduce_dtype = fields.choice("reduce_dtype", common::parse_data_type);
  job.master_dtype = fields.choice("master_dtype", common::parse_data_type, "float32");
  job.moment_dtype =
      fields.optional_type("moment_dtype", common::parse_data_type, job.master_dtype);
  job.loss_normalization = fields.choice("loss_normalization", parse_loss_normalization);
  job.max_grad_norm = complaints.of([&] { return json.number("max_grad_norm", 0); });
  job.decay_norms_and_biases = fields.flag("decay_norms_and_biases");
  fields.reject_unknown_keys();
  return job;
}

Layout read_layout(const JsonObject& json, Complaints& complaints) {
  const Fields fields{json, complaints};
  Layout layout;
  for (Axis axis : kMeshAxes) layout.mesh.sizes[axis] = fields.integer(to_string(axis));
  if (!json.is_null(kExpertParallel)) layout.mesh.expert_parallel = fields.integer(kExpertParallel);
  layout.mesh.ranks_per_node = fields.integer("ranks_per_node");
  layout.virtual_stages = fields.integer_or("virtual_stages", 1, 1);
  layout.sharding = fields.choice("sharding", parse_sharding);
  layout.gradient_accumulation =
      fields.choice("gradient_accumulation", parse_gradient_accumulation, "sharded");
  layout.sequence_parallel = fields.flag("sequence_parallel");
  layout.async_tp = fields.flag_or("async_tp", false);
  layout.activation_checkpointing =
      fields.choice("activation_checkpointing", parse_activation_checkpointing);
  if (!json.is_null("checkpointed_blocks"))
    layout.checkpointed_blocks = fields.integer("checkpointed_blocks", 0);
  layout.microbatch_size = fields.integer("microbatch_size");
  layout.accumulation = fields.integer("accumulation");
  layout.loss_chunks = fields.integer("loss_chunks");
  layout.blocks_kept_gathered = fields.integer("blocks_kept_gathered", 0);
  layout.prefetch_depth = fields.integer_or("prefetch_depth", 1, 0);
  layout.optimizer_offload = fields.flag_or("optimizer_offload", false);
  fields.reject_unknown_keys();
  return layout;
}

}  // namespace

Json to_json(const Job& job) {
  return {{"seq_length", job.seq_length},
          {"param_dtype", common::to_string(job.param_dtype)},
          {"matmul_dtype", common::to_string(matmul_dtype(job))},
          {"reduce_dtype", common::to_string(job.reduce_dtype)},
          {"master_dtype", common::to_string(job.master_dtype)},
          {"moment_dtype", common::to_string(moment_dtype(job))},
          {"loss_normalization", to_string(job.loss_normalization)},
          {"max_grad_norm", job.max_grad_norm},
          {"decay_norms_and_biases", job.decay_norms_and_biases}};
}

Json to_json(const Layout& layout) {
  Json json;
  for (Axis axis : kMeshAxes) json[to_string(axis)] = layout.mesh.sizes[axis];
  if (layout.mesh.expert_parallel != 1) json[kExpertParallel] = layout.mesh.expert_parallel;
  json["ranks_per_node"] = layout.mesh.ranks_per_node;
  json["virtual_stages"] = layout.virtual_stages;
  json["sharding"] = to_string(layout.sharding);
  json["gradient_accumulation"] = to_string(layout.gradient_accumulation);
  json["sequence_parallel"] = layout.sequence_parallel;
  json["async_tp"] = layout.async_tp;
  json["activation_checkpointing"] = to_string(layout.activation_checkpointing);
  json["checkpointed_blocks"] =
      layout.checkpointed_blocks ? Json(*layout.checkpointed_blocks) : Json();
  json["microbatch_size"] = layout.microbatch_size;
  json["accumulation"] = layout.accumulation;
  json["loss_chunks"] = layout.loss_chunks;
  json["blocks_kept_gathered"] = layout.blocks_kept_gathered;
  if (layout.prefetch_depth != 1) json["prefetch_depth"] = layout.prefetch_depth;
  json["optimizer_offload"] = layout.optimizer_offload;
  return json;
}

Layout read_layout(const JsonObject& json) {
  Complaints complaints;
  Layout layout = read_layout(json, complaints);
  complaints.throw_if_any(json.where());
  return layout;
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
  Complaints complaints;
  Plan plan;
  plan.model =
      complaints.of([&] { return read_model_config(object.at("model"), where + ".model"); });
  plan.model_source = complaints.of([&] { return object.text("model_source"); });
  plan.cluster =
      complaints.of([&] { return read_cluster(object.at("cluster"), where + ".cluster"); });
  plan.job = complaints.of([&] { return read_job(object.object("job"), complaints); });
  plan.layout = complaints.of([&] { return read_layout(object.object("layout"), complaints); });
  plan.estimate = complaints.of([&] { return read_estimate(object.object("estimate")); });
  complaints.of([&] { object.reject_unknown_keys(); });
  complaints.throw_if_any(where);
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

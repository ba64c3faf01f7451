#include "planner/plan/job_inputs.h"

#include <filesystem>

#include "planner/catalog/catalog.h"

namespace meshplan::planner {

LoadedModel load_model_with_source(const std::string& model) {
  LoadedModel loaded{load_model(model), model};
  if (catalog_text("models", model)) return loaded;
  std::error_code ignored;
  if (!std::filesystem::exists(model, ignored)) {
    loaded.source = loaded.spec.name;
    return loaded;
  }
  std::filesystem::path path = std::filesystem::absolute(model).lexically_normal();
  if (path.filename() == "config.json" || !path.has_filename()) path = path.parent_path();
  loaded.source = path.string();
  return loaded;
}

common::DataType default_param_dtype(const ClusterSpec& cluster) {
  const bool gpu = cluster.device.kind == DeviceKind::kGpu;
  return gpu ? common::DataType::kBfloat16 : common::DataType::kFloat32;
}

}  // namespace meshplan::planner

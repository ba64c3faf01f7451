#pragma once

#include <string>

#include "common/data_type.h"
#include "planner/cluster/cluster_spec.h"
#include "planner/model/model_spec.h"

namespace meshplan::planner {

/// A model by the name that the user gave.
struct LoadedModel {
  ModelSpec spec;
  /// Plan::model_source: the catalog name, or the absolute path of the folder (of the file, where
  /// that is not config.json).
  std::string source;
};

/// Throws as load_model().
LoadedModel load_model_with_source(const std::string& model);

/// Of parameters, where the job does not say: bfloat16 on GPUs, float32 on CPUs.
common::DataType default_param_dtype(const ClusterSpec& cluster);

}  // namespace meshplan::planner

#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "common/data_type.h"
#include "executor/checkpoint/checkpoint_layout.h"
#include "executor/checkpoint/save_exchange.h"
#include "executor/model/initial_parameters.h"
#include "formats/checkpoint_metadata.h"
#include "planner/model/flat_layout.h"
#include "planner/model/model_spec.h"

namespace meshplan::executor {

/// What does not change from one checkpoint of a rank to the next.
struct CheckpointSource {
  planner::ModelSpec model;
  /// As Plan::model_source.
  std::string model_source;
  /// Type of the weights; masters and moments are float32.
  common::DataType weights = common::DataType::kFloat32;
  std::vector<std::pair<std::string, std::int64_t>> mesh;
  ParameterPlace place;
  /// Whether this rank writes: the first replica does.
  bool writes = true;
  /// The first rank of this one's node, and all such ranks.
  std::int64_t node_leader = 0;
  std::vector<std::int64_t> node_leaders = {0};
  /// Chosen by the file system where it is not given: kMerged on network and user-space file
  /// systems, whose caches do not see each other's writes to one file; kWhole elsewhere; kPerRank,
  /// whatever is given, where nodes do not see each other's files.
  std::optional<CheckpointLayout> layout;
};

/// A rank's slices of one unit, in host memory.
struct UnitState {
  const planner::FlatLayout* flat;
  const float* master;
  const float* first_moment;
  const float* second_moment;
};

struct SaveOrder {
  /// RUN/checkpoints.
  std::filesystem::path folder;
  formats::CheckpointMetadata metadata;
  std::vector<UnitState> state;
  /// Checkpoints of later steps belong to another run, and are set aside first; -1: all do.
  std::optional<std::int64_t> set_aside_after;
  /// Older ones are deleted beyond so many; 0 = never.
  std::int64_t keep_latest = 0;
};

/// Writes RUN/checkpoints/step-N; called by all ranks. Every file is on the disk before the folder
/// has its name, the name before LATEST tells it, and that before anything older is deleted; what
/// fails leaves all older checkpoints as they were. Throws kIo, on every rank, what failed on one.
void save_checkpoint(const CheckpointSource& source, const SaveOrder& order,
                     SaveExchange& exchange);

}  // namespace meshplan::executor

#pragma once

#include "planner/plan/exporters/exporter.h"

namespace meshplan::planner {

extern const ExportTarget kTorchtitan;
extern const ExportTarget kTorchtitan03;
extern const ExportTarget kTorchtitanMain;
extern const ExportTarget kMegatron;
extern const ExportTarget kAccelerate;
extern const ExportTarget kDeepspeed;
extern const ExportTarget kNanotron;
extern const ExportTarget kLightning;
extern const ExportTarget kRayTrain;

/// What several targets say alike.

/// Whether parameters are gathered once a step, or not at all: after a forward pass they stay.
bool stays_gathered(const Plan& plan);
/// Whether blocks recompute all but their input.
bool checkpoints_fully(const Plan& plan);
/// What a file without batch sizes leaves to its script.
std::vector<std::string> batch_for_the_script(const Plan& plan);
/// The nodes that the plan's ranks fill.
std::int64_t node_count(const Plan& plan);
/// The Hugging Face class of the model's blocks, or null where it is not known here.
const char* block_class(const ModelSpec& model);
/// A refusal for each trait of the model beyond Llama's blocks, which the named program lacks;
/// query, key and value biases and norms of queries and keys where it has them.
struct BlockTraits {
  bool qkv_bias = false;
  bool qk_norm = false;
  bool experts = false;
};
std::vector<std::string> beyond_llama_blocks(const ModelSpec& model, const BlockTraits& has);

}  // namespace meshplan::planner

#pragma once

#include <array>

#include "planner/plan/exporters/targets.h"

namespace meshplan::planner {

/// The training scripts for PyTorch, which differ only in who starts the ranks and the loop:
/// Hugging Face's model, DTensor for tp, FSDP2 for the data-parallel axes.

inline constexpr std::array kScriptChoices = {Choice::kReplicasOfShards,
                                              Choice::kTp,
                                              Choice::kFullShard,
                                              Choice::kShardGradOp,
                                              Choice::kShardedAccumulation,
                                              Choice::kUnshardedAccumulation,
                                              Choice::kPlainTp,
                                              Choice::kFullCheckpointing,
                                              Choice::kCheckpointedBlocks,
                                              Choice::kBlocksKeptGathered,
                                              Choice::kPrefetchDepth,
                                              Choice::kFloat32,
                                              Choice::kNarrowReduce,
                                              Choice::kWideReduce,
                                              Choice::kNarrowMaster,
                                              Choice::kDecayAll,
                                              Choice::kDecayMatrices};

inline constexpr std::array kScriptPins = {SearchPin{"--loss-chunks", "1"},
                                           SearchPin{"--sequence-parallel", "off"}};

/// Models that such a script does not build, and a prefetch that FSDP2 does not have.
std::vector<std::string> script_refusals(const Plan& plan);

/// The plan as constants, and the functions that make, parallelise and train the model.
std::string script_core(const Plan& plan);

}  // namespace meshplan::planner

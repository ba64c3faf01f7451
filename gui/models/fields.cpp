// SPDX-License-Identifier: GPL-3.0-or-later
#include "gui/models/fields.h"

#include <algorithm>

#include "planner/catalog/catalog.h"

namespace meshplan::gui {
namespace {

constexpr const char* kModelGroup = "Model";
constexpr const char* kClusterGroup = "Cluster";
constexpr const char* kJobGroup = "Job";
constexpr const char* kTypesGroup = "Data types";
constexpr const char* kMeshGroup = "Mesh sizes to try";
constexpr const char* kChoicesGroup = "Choices to try";

constexpr std::array<FieldInfo, kFields> kInfos = {{
    {Field::kModel, "model", kModelGroup, "Model",
     "A name of the catalog, a folder with a Hugging Face config.json, that file, or a plan.",
     "llama-3-8b", nullptr, true},
    {Field::kCluster, "cluster", kClusterGroup, "Cluster",
     "A name of the catalog, a cluster file (meshplan calibrate writes one), or a plan.",
     "h100-sxm", nullptr, true},
    {Field::kNodes, "nodes", kClusterGroup, "Nodes",
     "Machines, joined by the network. Every GPU of a node is one rank.", "8", "the cluster's",
     true},
    {Field::kGpusPerNode, "gpus_per_node", kClusterGroup, "GPUs per node",
     "Ranks of a node, joined by its fast links (NVLink).", "8", "the cluster's", true},
    {Field::kNetwork, "network", kClusterGroup, "Network", "What joins the nodes.", "",
     "the cluster's", false},
    {Field::kGpuPrice, "gpu_price", kClusterGroup, "Price of a GPU hour",
     "In any currency; the cost of a million tokens is in the same.", "", "the cluster's", true},
    {Field::kMemoryLimit, "memory_limit_gib", kClusterGroup, "Memory limit, GiB",
     "What a rank may need at most; layouts that need more are rejected.", "", "the GPU's memory",
     true},
    {Field::kSeqLength, "seq_length", kJobGroup, "Sequence length",
     "Tokens of one training sequence.", "8192", nullptr, true},
    {Field::kGlobalBatch, "global_batch_size", kJobGroup, "Global batch",
     "Sequences of a step over all ranks = microbatch x accumulation x data-parallel ranks.",
     "1024", "one microbatch a rank", true},
    {Field::kMicrobatch, "microbatch_size", kJobGroup, "Microbatch",
     "Sequences of a data-parallel rank's forward pass; a list such as 1,2,4.", "",
     "1, 2, 4 ... 64", true},
    {Field::kParamDtype, "param_dtype", kTypesGroup, "Parameters",
     "Type of parameters and activations in the passes.", "", "bfloat16 (CPU: float32)", false},
    {Field::kMatmulDtype, "matmul_dtype", kTypesGroup, "Multiplies",
     "Type of the operands of the blocks' matrix multiplies.", "", "the parameters'", false},
    {Field::kReduceDtype, "reduce_dtype", kTypesGroup, "Reduction",
     "Type in which gradients are summed over ranks.", "", "float32", false},
    {Field::kMasterDtype, "master_dtype", kTypesGroup, "Master copy",
     "Type of the parameters that AdamW updates.", "", "float32", false},
    {Field::kMomentDtype, "moment_dtype", kTypesGroup, "Moments", "Type of AdamW's two moments.",
     "", "the master copy's", false},
    {Field::kTp, "tp", kMeshGroup, "tp",
     "Tensor parallelism: ranks that share each matrix. They exchange activations, so they want "
     "the fast links of one node. A list such as 1,2,8.",
     "", "every divisor", true},
    {Field::kDpShard, "dp_shard", kMeshGroup, "dp_shard",
     "FSDP: ranks that each keep a slice of parameters, gradients and optimizer.", "",
     "every divisor", true},
    {Field::kDpReplicate, "dp_replicate", kMeshGroup, "dp_replicate",
     "Whole replicas of the sharded model; more than 1 is hybrid sharding.", "", "every divisor",
     true},
    {Field::kPp, "pp", kMeshGroup, "pp", "Pipeline parallelism: stages that hold some blocks each.",
     "1", "every divisor", true},
    {Field::kCp, "cp", kMeshGroup, "cp", "Context parallelism: ranks that share each sequence.",
     "1", "every divisor", true},
    {Field::kSharding, "sharding", kChoicesGroup, "Strategy",
     "What dp_shard ranks keep between uses: a slice of everything (full_shard, ZeRO-3), of "
     "gradients and optimizer (shard_grad_op), of the optimizer (shard_optimizer), or nothing.",
     "", "full_shard, shard_grad_op and no_shard", false},
    {Field::kCheckpointing, "activation_checkpointing", kChoicesGroup, "Checkpointing",
     "Whether blocks keep their activations for the backward pass or compute them again.", "",
     "none, selective and full", false},
    {Field::kSequenceParallel, "sequence_parallel", kChoicesGroup, "Sequence parallel",
     "Whether tp ranks also share norms and the residual stream, by tokens.", "on", "on and off",
     false},
    {Field::kAsyncTp, "async_tp", kChoicesGroup, "Async tp",
     "Whether tp's collectives run in pieces beside their matrix multiplies.", "off", "on and off",
     false},
    {Field::kOptimizerOffload, "optimizer_offload", kChoicesGroup, "Optimizer on host",
     "Whether AdamW and its state are in the memory of the host.", "off", "on and off", false},
}};

constexpr bool inOrder() {
  for (std::size_t i = 0; i < kFields; ++i) {
    if (static_cast<std::size_t>(kInfos[i].field) != i) return false;
  }
  return true;
}
static_assert(inOrder());

QStringList catalog(const char* kind) {
  QStringList names;
  for (const std::string& name : planner::catalog_names(kind))
    names.append(QString::fromStdString(name));
  return names;
}

}  // namespace

const std::array<FieldInfo, kFields>& allFields() { return kInfos; }

const FieldInfo& infoOf(Field field) { return kInfos[static_cast<std::size_t>(field)]; }

std::optional<Field> fieldOfKey(const QString& key) {
  const auto found = std::find_if(kInfos.begin(), kInfos.end(),
                                  [&](const FieldInfo& info) { return key == info.key; });
  if (found == kInfos.end()) return std::nullopt;
  return found->field;
}

QStringList suggestionsFor(Field field) {
  switch (field) {
    case Field::kModel:
      return catalog("models");
    case Field::kCluster:
      return catalog("clusters");
    case Field::kNetwork:
      return catalog("networks");
    case Field::kNodes:
      return {"1", "2", "4", "8", "16", "32", "64", "128", "256", "512", "1024", "2048"};
    case Field::kGpusPerNode:
      return {"1", "2", "4", "8", "16", "72"};
    case Field::kSeqLength:
      return {"1024", "2048", "4096", "8192", "16384", "32768", "65536", "131072"};
    case Field::kGlobalBatch:
      return {"64", "128", "256", "512", "1024", "2048", "4096", "8192"};
    case Field::kMicrobatch:
      return {"1", "2", "4", "8", "16"};
    case Field::kParamDtype:
      return {"bfloat16", "float32", "float16"};
    case Field::kMatmulDtype:
      return {"float8"};
    case Field::kReduceDtype:
    case Field::kMasterDtype:
    case Field::kMomentDtype:
      return {"float32", "bfloat16"};
    case Field::kTp:
      return {"1", "2", "4", "8", "1,2,4,8"};
    case Field::kDpShard:
    case Field::kDpReplicate:
      return {"1", "2", "4", "8", "16", "32", "64"};
    case Field::kPp:
    case Field::kCp:
      return {"1", "2", "4", "8", "1,2,4,8"};
    case Field::kSharding:
      return {"full_shard", "shard_grad_op", "shard_optimizer", "no_shard", "all"};
    case Field::kCheckpointing:
      return {"none", "selective", "full"};
    case Field::kSequenceParallel:
    case Field::kAsyncTp:
    case Field::kOptimizerOffload:
      return {"on", "off"};
    case Field::kGpuPrice:
    case Field::kMemoryLimit:
      return {};
  }
  return {};
}

Inputs exampleInputs() {
  Inputs inputs;
  for (const FieldInfo& info : kInfos) inputs[info.field] = QString::fromUtf8(info.initial);
  return inputs;
}

}  // namespace meshplan::gui

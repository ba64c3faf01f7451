#include "planner/validate/measured_run.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <utility>

#include "common/error.h"
#include "planner/validate/row_reader.h"

namespace meshplan::planner {
namespace {

constexpr std::int64_t kMaxAccumulation = 1 << 20;
constexpr double kMaxGib = 1e6;
constexpr double kMaxRate = 1e12;
/// Smaller models' steps are bound by the host, whose speed no row tells.
constexpr double kSmallestJudged = 1e8;

template <class Value, std::size_t N>
std::optional<Value> named(const std::array<std::pair<const char*, Value>, N>& names,
                           const std::string& name) {
  for (const auto& [text, value] : names) {
    if (name == text) return value;
  }
  return std::nullopt;
}

/// What a table may lack: names, and settings and measurements that a row may leave empty.
constexpr std::array<std::string_view, 19> kOptionalColumns = {"source",
                                                               "model",
                                                               "remarks",
                                                               "status",
                                                               "doubt",
                                                               "inter_node",
                                                               "dp_replicate",
                                                               "cp",
                                                               "virtual_stages",
                                                               "async_tp",
                                                               "matmul_precision",
                                                               "state_bytes_per_parameter",
                                                               "num_key_value_heads",
                                                               "memory_kind",
                                                               "measured_peak_memory_gib",
                                                               "measured_tokens_per_s_per_gpu",
                                                               "measured_tflops_per_gpu",
                                                               "measured_step_time_s",
                                                               "kv_heads"};

constexpr std::array kCheckpointings = {
    std::pair{"none", PeerCheckpointing::kNone},
    std::pair{"", PeerCheckpointing::kNone},
    std::pair{"full", PeerCheckpointing::kFull},
    std::pair{"selective_op", PeerCheckpointing::kSelectiveOp},
    std::pair{"selective_attention", PeerCheckpointing::kSelectiveAttention},
    std::pair{"selective_graph", PeerCheckpointing::kSelectiveGraph},
    std::pair{"selective_layer_2", PeerCheckpointing::kSecondBlocks},
};
constexpr std::array kPrecisions = {std::pair{"bf16", false}, std::pair{"fp16", false},
                                    std::pair{"fp8", true}, std::pair{"", false}};

/// A reason why the row cannot be priced.
struct Unpriced {
  std::string reason;
};

std::int64_t published(std::optional<std::int64_t> value, const char* column) {
  if (!value) throw Unpriced{fmt::format("{} is not published", column)};
  return *value;
}

/// A number that has to be there for a row to be priced.
std::int64_t needed(const RowReader& row, const char* column, std::int64_t max) {
  return published(row.integer(column, 1, max), column);
}

PeerModel read_model(const RowReader& row) {
  PeerModel model;
  model.num_hidden_layers = needed(row, "layers", kMaxPeerLayers);
  model.hidden_size = needed(row, "hidden_size", kMaxPeerWidth);
  model.intermediate_size = needed(row, "intermediate_size", kMaxPeerWidth);
  model.gated_mlp = row.flag("gated_mlp");
  // Heads of 128 where they are not published.
  model.num_attention_heads = row.integer("num_attention_heads", 1, kMaxPeerWidth)
                                  .value_or(std::max<std::int64_t>(1, model.hidden_size / 128));
  model.num_key_value_heads =
      row.integer("num_key_value_heads", 1, kMaxPeerWidth).value_or(model.num_attention_heads);
  if (model.num_attention_heads > model.hidden_size ||
      model.num_key_value_heads > model.num_attention_heads)
    throw Unpriced{fmt::format("{} query heads and {} key-value heads of hidden size {}",
                               model.num_attention_heads, model.num_key_value_heads,
                               model.hidden_size)};
  model.head_dim = model.hidden_size / model.num_attention_heads;
  model.vocab_size = needed(row, "vocab_size", kMaxPeerWidth);
  model.tie_word_embeddings = row.flag("tied_embeddings");
  return model;
}

/// Nothing where the field is empty.
std::optional<Sharding> read_sharding(const RowReader& row) {
  const std::string& name = row.text("sharding");
  if (name.empty()) return std::nullopt;
  try {
    return parse_sharding(name, "sharding");
  } catch (const common::Error&) {
    throw Unpriced{fmt::format("sharding '{:.60}' is not known", name)};
  }
}

DeviceMesh read_mesh(const RowReader& row) {
  DeviceMesh mesh;
  const auto size = [&](const char* column) {
    return row.integer(column, 1, kMaxPeerRanks).value_or(1);
  };
  mesh.sizes[Axis::kPp] = size("pp");
  mesh.sizes[Axis::kDpReplicate] = size("dp_replicate");
  mesh.sizes[Axis::kDpShard] = size("dp_shard");
  mesh.sizes[Axis::kCp] = size("cp");
  mesh.sizes[Axis::kTp] = size("tp");
  mesh.ranks_per_node = needed(row, "gpus_per_node", 1024);
  return mesh;
}

/// The product of the axes, or -1 beyond the limit.
std::int64_t bounded_world(const DeviceMesh& mesh) {
  std::int64_t world = 1;
  for (Axis axis : kMeshAxes) {
    if (mesh.sizes[axis] > kMaxPeerRanks / world) return -1;
    world *= mesh.sizes[axis];
  }
  return world;
}

/// Where no data-parallel size is published, it is what the other axes leave of the world: shards,
/// unless the row says that parameters are whole.
void complete_mesh(const RowReader& row, std::int64_t world, std::optional<Sharding> sharding,
                   DeviceMesh& mesh) {
  if (!row.text("dp_replicate").empty() || !row.text("dp_shard").empty()) return;
  const std::int64_t others = bounded_world(mesh);
  if (others < 0 || world % others != 0) return;
  const bool whole = sharding == Sharding::kNoShard || sharding == Sharding::kShardOptimizer;
  mesh.sizes[whole ? Axis::kDpReplicate : Axis::kDpShard] = world / others;
}

void read_measurements(const RowReader& row, MeasuredRun& run) {
  run.peak_memory_gib = row.number("measured_peak_memory_gib", kMaxGib);
  run.tokens_per_second_per_gpu = row.number("measured_tokens_per_s_per_gpu", kMaxRate);
  run.tflops_per_gpu = row.number("measured_tflops_per_gpu", kMaxRate);
  run.step_time_s = row.number("measured_step_time_s", kMaxRate);
  const std::string kind = row.text("memory_kind");
  run.memory_kind = kind == "allocated"  ? MemoryKind::kAllocated
                    : kind == "reserved" ? MemoryKind::kReserved
                                         : MemoryKind::kUnstated;
}

bool is_measured(const MeasuredRun& run) {
  return run.peak_memory_gib || run.tokens_per_second_per_gpu || run.tflops_per_gpu ||
         run.step_time_s;
}

void read_doubt(const RowReader& row, MeasuredRun& run) {
  run.doubt = row.text("doubt");
  const bool both = run.doubt.starts_with("both");
  if (both || run.doubt.starts_with("throughput")) run.throughput_doubt = run.doubt;
  if (both || run.doubt.starts_with("memory")) run.memory_doubt = run.doubt;
}

/// Runtime, GPU and network; throws Unpriced for one that is not known.
void find_setting(const RowReader& row, const MeasuredRun& measured, PeerRun& run) {
  run.runtime = find_runtime(measured.runtime);
  if (run.runtime == nullptr)
    throw Unpriced{fmt::format("runtime '{:.60}' is not known", measured.runtime)};
  run.hardware.gpu = find_gpu(measured.gpu);
  if (run.hardware.gpu == nullptr)
    throw Unpriced{fmt::format("GPU '{:.60}' is not in the catalog", measured.gpu)};
  run.fused_attention =
      !(run.runtime->unfused_attention_on_a100 && measured.gpu.starts_with("a100"));
  const std::string network = row.text("inter_node");
  run.hardware.network = usual_network(*run.hardware.gpu);
  if (network.empty()) return;
  const auto found = parse_network(network, run.mesh.ranks_per_node);
  if (!found) throw Unpriced{fmt::format("network '{:.60}' is not known", network)};
  run.hardware.network = *found;
}

template <class Value, std::size_t N>
Value priced(const RowReader& row, const char* column,
             const std::array<std::pair<const char*, Value>, N>& names) {
  if (const auto value = named(names, row.text(column))) return *value;
  throw Unpriced{fmt::format("{} '{:.60}' is not known", column, row.text(column))};
}

/// Where a runtime's pipeline cuts what one data-parallel rank is given into microbatches.
void split_over_stages(PeerRun& run) {
  const std::int64_t stages = run.mesh.sizes[Axis::kPp];
  if (!run.runtime->splits_batch_over_stages || stages == 1 || run.accumulation > 1) return;
  run.accumulation = std::min(stages, run.microbatch_size);
  run.microbatch_size /= run.accumulation;
}

void read_batch(const RowReader& row, PeerRun& run) {
  const auto microbatch = row.integer("microbatch_size", 1, kMaxPeerTokens);
  const auto accumulation = row.integer("accumulation", 1, kMaxAccumulation);
  const auto length = row.integer("seq_length", 1, kMaxPeerTokens);
  if (microbatch && length && *microbatch > kMaxPeerTokens / *length)
    row.fail("microbatch_size", fmt::format("{} sequences of {} tokens; {} tokens are the most",
                                            *microbatch, *length, kMaxPeerTokens));
  run.microbatch_size = published(microbatch, "microbatch_size");
  run.accumulation = published(accumulation, "accumulation");
  run.seq_length = published(length, "seq_length");
}

PeerRun read_run(const RowReader& row, const MeasuredRun& measured) {
  PeerRun run;
  run.model = read_model(row);
  run.mesh = read_mesh(row);
  const std::int64_t published_world = needed(row, "world_size", kMaxPeerRanks);
  run.virtual_stages =
      std::max<std::int64_t>(1, row.integer("virtual_stages", 0, kMaxPeerLayers).value_or(1));
  run.sequence_parallel = row.flag("sequence_parallel");
  run.async_tp = row.flag("async_tp");
  const auto state = row.number("state_bytes_per_parameter", 64);
  const std::optional<Sharding> sharding = read_sharding(row);
  complete_mesh(row, published_world, sharding, run.mesh);
  const std::int64_t world = bounded_world(run.mesh);
  if (world != published_world)
    throw Unpriced{fmt::format("pp x dp x cp x tp = {}, but world_size is {}",
                               world < 0 ? "too many ranks" : std::to_string(world),
                               published_world)};
  read_batch(row, run);
  find_setting(row, measured, run);
  run.sharding = sharding.value_or(run.mesh.sizes[Axis::kDpShard] > 1 ? Sharding::kFullShard
                                                                      : Sharding::kNoShard);
  run.checkpointing = priced(row, "activation_checkpointing", kCheckpointings);
  run.fp8 = priced(row, "matmul_precision", kPrecisions);
  run.state_bytes_per_parameter = state.value_or(run.runtime->state_bytes_per_parameter);
  run.chunked_loss = row.text("remarks") == "chunked cross-entropy";
  split_over_stages(run);
  return run;
}

MeasuredRun read_training_run(const RowReader& row) {
  MeasuredRun measured;
  measured.id = row.text("id");
  measured.source = row.text("source");
  measured.runtime = row.text("runtime");
  measured.model = row.text("model");
  measured.gpu = row.text("gpu");
  measured.status = row.text("status");
  read_measurements(row, measured);
  // Where a row does not tell, what was measured ran.
  if (measured.status.empty() && is_measured(measured)) measured.status = "ok";
  read_doubt(row, measured);
  const std::string remarks = row.text("remarks");
  measured.tflops_count_recomputation =
      remarks.find("TFLOPs count recomputation") != std::string::npos;
  try {
    measured.run = read_run(row, measured);
    if (parameters(measured.run->model) < kSmallestJudged && measured.throughput_doubt.empty())
      measured.throughput_doubt = "throughput: under 100 M parameters, bound by the host";
  } catch (const Unpriced& unpriced) {
    measured.skipped = unpriced.reason;
  }
  return measured;
}

/// One row of Hugging Face's sweep of layouts, on nodes of 8 H100 with EFA.
PeerRun read_sweep_run(const RowReader& row) {
  PeerRun run;
  run.runtime = find_runtime("nanotron");
  run.hardware.gpu = find_gpu("h100-sxm");
  run.hardware.network = parse_network("efa-3200", 8).value_or(usual_network(*run.hardware.gpu));
  PeerModel& model = run.model;
  model.num_hidden_layers = needed(row, "layers", kMaxPeerLayers);
  model.hidden_size = needed(row, "hidden", kMaxPeerWidth);
  model.intermediate_size = needed(row, "ffn_hidden", kMaxPeerWidth);
  model.num_attention_heads = needed(row, "heads", model.hidden_size);
  model.num_key_value_heads =
      row.integer("kv_heads", 1, model.num_attention_heads).value_or(model.num_attention_heads);
  model.head_dim = model.hidden_size / model.num_attention_heads;
  model.vocab_size = needed(row, "vocab", kMaxPeerWidth);
  model.tie_word_embeddings = row.text("tie_embeddings") == "True";
  run.mesh.sizes[Axis::kPp] = needed(row, "pp", kMaxPeerRanks);
  run.mesh.sizes[Axis::kDpReplicate] = needed(row, "dp", kMaxPeerRanks);
  run.mesh.sizes[Axis::kTp] = needed(row, "tp", kMaxPeerRanks);
  run.mesh.ranks_per_node = 8;
  const std::int64_t gpus = needed(row, "gpus", kMaxPeerRanks);
  const bool zero1 = published(row.integer("zero_stage", 0, 1), "zero_stage") == 1;
  run.sharding = zero1 ? Sharding::kShardOptimizer : Sharding::kNoShard;
  run.sequence_parallel = run.mesh.sizes[Axis::kTp] > 1;
  run.state_bytes_per_parameter = run.runtime->state_bytes_per_parameter;
  run.microbatch_size = needed(row, "micro_batch", 1 << 16);
  run.accumulation = needed(row, "grad_accum", kMaxAccumulation);
  run.seq_length = needed(row, "seq_len", 1 << 16);
  if (bounded_world(run.mesh) != gpus) throw Unpriced{"pp x dp x tp differs from gpus"};
  return run;
}

MeasuredRun read_sweep_row(const RowReader& row, std::size_t index) {
  MeasuredRun measured;
  measured.id = fmt::format("sweep-{}", index);
  measured.source = "layout sweep";
  measured.runtime = "nanotron";
  measured.model = row.text("model_params_b_label") + " B";
  measured.gpu = "h100-sxm";
  measured.status = row.text("status");
  measured.tokens_per_second_per_gpu = row.number("tokens_per_s_per_gpu", kMaxRate);
  measured.peak_memory_gib = row.number("gpu_mem_gib", kMaxGib);
  try {
    measured.run = read_sweep_run(row);
  } catch (const Unpriced& unpriced) {
    measured.skipped = unpriced.reason;
  }
  return measured;
}

}  // namespace

std::vector<MeasuredRun> read_measured_runs(const formats::CsvTable& table) {
  const bool sweep = table.column("model_params_b_label").has_value();
  std::vector<MeasuredRun> runs;
  runs.reserve(table.rows());
  for (std::size_t i = 0; i < table.rows(); ++i) {
    const RowReader row(table, i, kOptionalColumns);
    runs.push_back(sweep ? read_sweep_row(row, i) : read_training_run(row));
  }
  return runs;
}

}  // namespace meshplan::planner

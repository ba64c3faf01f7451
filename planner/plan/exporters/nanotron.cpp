#include <fmt/format.h>

#include "planner/plan/exporters/quoting.h"
#include "planner/plan/exporters/targets.h"

namespace meshplan::planner {
namespace {

using enum Choice;

constexpr std::array kChoices = {
    kPp,      kReplicas,          kTp,           kShardOptimizer, kSequenceParallel, kPlainTp,
    kAsyncTp, kFullCheckpointing, kNarrowReduce, kWideReduce,     kNarrowMaster,     kDecayAll};

constexpr std::array kPins = {SearchPin{"--loss-chunks", "1"}};

std::vector<std::string> refuse(const Plan& plan) {
  std::vector<std::string> refused = beyond_llama_blocks(plan.model, {});
  const Job& job = plan.job;
  if (plan.model.rope.scaling != RopeScaling::kNone || plan.model.rope.rotated_part != 1) {
    refused.push_back(
        fmt::format("model={}: rotary angles are not stretched; export a plan of another model",
                    plain(plan.model.name)));
  }
  if ((job.master_dtype == job.param_dtype) != (job.reduce_dtype == job.param_dtype)) {
    refused.push_back(fmt::format(
        "reduce_dtype={} with master_dtype={}: accumulate_grad_in_fp32 is both or none; plan with "
        "both float32, or both bfloat16",
        common::to_string(job.reduce_dtype), common::to_string(job.master_dtype)));
  }
  return refused;
}

std::string parallelism(const Plan& plan) {
  const Layout& layout = plan.layout;
  const AxisSizes& sizes = layout.mesh.sizes;
  return fmt::format(
      "parallelism:\n"
      "  dp: {}\n"
      "  pp: {}\n"
      "  tp: {}\n"
      "  expert_parallel_size: 1\n"
      "  context_parallel_size: 1\n"
      "  pp_engine: 1f1b\n"
      "  tp_mode: {}\n"
      "  tp_linear_async_communication: {}\n"
      "  tp_recompute_allgather: true\n"
      "  recompute_layer: {}\n",
      data_parallel_size(layout.mesh), sizes[Axis::kPp], sizes[Axis::kTp],
      layout.sequence_parallel ? "REDUCE_SCATTER" : "ALL_REDUCE", layout.async_tp,
      checkpoints_fully(plan));
}

std::string model(const Plan& plan) {
  const ModelSpec& model = plan.model;
  return fmt::format(
      "model:\n"
      "  ddp_bucket_cap_mb: 25\n"
      "  dtype: bfloat16\n"
      "  init_method:\n"
      "    std: {}\n"
      "  make_vocab_size_divisible_by: 1\n"
      "  model_config:\n"
      "    bos_token_id: 1\n"
      "    eos_token_id: 2\n"
      "    hidden_act: silu\n"
      "    hidden_size: {}\n"
      "    initializer_range: {}\n"
      "    intermediate_size: {}\n"
      "    is_llama_config: true\n"
      "    max_position_embeddings: {}\n"
      "    num_attention_heads: {}\n"
      "    num_hidden_layers: {}\n"
      "    num_key_value_heads: {}\n"
      "    pad_token_id: null\n"
      "    pretraining_tp: 1\n"
      "    rms_norm_eps: {}\n"
      "    rope_scaling: null\n"
      "    rope_theta: {}\n"
      "    rope_interleaved: false\n"
      "    tie_word_embeddings: {}\n"
      "    use_cache: true\n"
      "    vocab_size: {}\n",
      decimal(model.initializer_range), model.hidden_size, decimal(model.initializer_range),
      model.intermediate_size, std::max(model.max_position_embeddings, plan.job.seq_length),
      model.num_attention_heads, model.num_hidden_layers, model.num_key_value_heads,
      decimal(model.rms_norm_eps), decimal(model.rope.theta), model.tie_word_embeddings,
      model.vocab_size);
}

std::string optimizer(const Plan& plan) {
  const Job& job = plan.job;
  const bool sharded = sharding_ranks(plan.layout.mesh) > 1;
  return fmt::format(
      "optimizer:\n"
      "  accumulate_grad_in_fp32: {}\n"
      "  clip_grad: {}\n"
      "  learning_rate_scheduler:\n"
      "    learning_rate: 0.0003\n"
      "    lr_decay_starting_step: null\n"
      "    lr_decay_steps: 980\n"
      "    lr_decay_style: cosine\n"
      "    lr_warmup_steps: 20\n"
      "    lr_warmup_style: linear\n"
      "    min_decay_lr: 0.00003\n"
      "  optimizer_factory:\n"
      "    adam_beta1: 0.9\n"
      "    adam_beta2: 0.95\n"
      "    adam_eps: 1.0e-08\n"
      "    name: adamW\n"
      "    torch_adam_is_fused: true\n"
      "  weight_decay: 0.1\n"
      "  weight_decay_exclude_named_params: []\n"
      "  zero_stage: {}\n",
      job.reduce_dtype == common::DataType::kFloat32,
      job.max_grad_norm > 0 ? decimal(job.max_grad_norm) : "null", sharded ? 1 : 0);
}

Export write(const Plan& plan) {
  std::string text = fmt::format(
      "checkpoints:\n"
      "  checkpoint_interval: 1000\n"
      "  checkpoints_path: checkpoints\n"
      "  checkpoints_path_is_shared_file_system: false\n"
      "  resume_checkpoint_path: null\n"
      "  save_initial_state: false\n"
      "data_stages:\n"
      "- data:\n"
      "    dataset: null\n"
      "    num_loading_workers: 1\n"
      "    seed: 42\n"
      "  name: planned\n"
      "  start_training_step: 1\n"
      "general:\n"
      "  benchmark_csv_path: null\n"
      "  consumed_train_samples: null\n"
      "  ignore_sanity_checks: true\n"
      "  project: meshplan\n"
      "  run: {}\n"
      "  seed: 42\n"
      "  step: null\n"
      "lighteval: null\n"
      "logging:\n"
      "  iteration_step_info_interval: 1\n"
      "  log_level: info\n"
      "  log_level_replica: info\n",
      literal(plan.model.name));
  text += model(plan) + optimizer(plan) + parallelism(plan);
  text += fmt::format(
      "profiler: null\n"
      "tokenizer:\n"
      "  tokenizer_max_length: null\n"
      "  tokenizer_name_or_path: null\n"
      "  tokenizer_revision: null\n"
      "tokens:\n"
      "  batch_accumulation_per_replica: {}\n"
      "  limit_test_batches: 0\n"
      "  limit_val_batches: 0\n"
      "  micro_batch_size: {}\n"
      "  sequence_length: {}\n"
      "  train_steps: 1000\n"
      "  val_check_interval: -1\n",
      plan.layout.accumulation, plan.layout.microbatch_size, plan.job.seq_length);
  return {text,
          {"set here, as the plan has none: tokenizer, dataset (null: made-up tokens), token ids, "
           "steps and learning rate",
           "CUDA_DEVICE_MAX_CONNECTIONS=1 torchrun ... run_train.py --config-file THIS"}};
}

}  // namespace

const ExportTarget kNanotron = {
    "nanotron", "nanotron main 2411b02 (YAML)", "YAML", kChoices, kPins, refuse, write};

}  // namespace meshplan::planner

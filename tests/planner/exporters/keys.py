"""Every key that a file for a trainer may hold, from the trainer's source at the version that docs/exports.md names."""
import ast
import json
import re
import tomllib

import yaml


def _table(text):
    """{section: its keys} of lines "section: key key"; lines that begin with a space go on."""
    joined = re.sub(r"\n +", " ", text.strip())
    return {line.split(":")[0]: set(line.split(":")[1].split()) for line in joined.splitlines()}


# torchtitan/config/job_config.py
TORCHTITAN = _table("""
job: config_file dump_folder description print_config save_config_file custom_config_module
model: name flavor hf_assets_path tokenizer_path converters print_after_conversion
training: dataset dataset_path local_batch_size global_batch_size seq_len max_norm steps enable_cpu_offload dtype
  mixed_precision_param mixed_precision_reduce gc_freq gc_debug dataloader
parallelism: data_parallel_replicate_degree data_parallel_shard_degree fsdp_reshard_after_forward tensor_parallel_degree
  disable_loss_parallel enable_async_tensor_parallel pipeline_parallel_degree module_fqns_per_model_part
  pipeline_parallel_first_stage_less_layers pipeline_parallel_last_stage_less_layers pipeline_parallel_layers_per_stage
  pipeline_parallel_schedule pipeline_parallel_schedule_csv pipeline_parallel_microbatch_size
  pipeline_parallel_expert_parallel_overlap context_parallel_degree context_parallel_load_balancer
  context_parallel_rotate_method expert_parallel_degree expert_tensor_parallel_degree expert_parallel_comm_backend
activation_checkpoint: mode selective_ac_option per_op_sac_force_recompute_mm_shapes_by_fqns early_stop memory_budget
  visualize_memory_budget_pareto preserve_rng_state determinism_check debug
compile: enable components backend
quantize: linear
quantize.linear: float8
quantize.linear.float8: enable_fsdp_float8_all_gather precompute_float8_dynamic_scale_for_fsdp recipe_name filter_fqns emulate
""")

# torchtitan/config/configs.py, trainer.py of v0.3.0 and of main b5bcd76
_PYTHON = """
parallelism: data_parallel_replicate_degree data_parallel_shard_degree fsdp_reshard_after_forward enable_fsdp_symm_mem
  tensor_parallel_degree enable_sequence_parallel spmd_backend pipeline_parallel_degree module_fqns_per_model_part
  pipeline_parallel_first_stage_less_layers pipeline_parallel_last_stage_less_layers pipeline_parallel_layers_per_stage
  pipeline_parallel_schedule pipeline_parallel_schedule_csv context_parallel_degree context_parallel_load_balancer
  context_parallel_ptrr_mask_key expert_parallel_degree {parallelism}
compile: enable enable_async_tensor_parallel components backend
training: {training} max_norm steps enable_cpu_offload disable_cuda_graphs dtype mixed_precision_param
  mixed_precision_reduce gc_freq gc_debug
config: model_spec activation_checkpoint loss parallelism compile training
"""
TORCHTITAN_03 = _table(_PYTHON.format(parallelism="pipeline_parallel_microbatch_size",
                                      training="local_batch_size global_batch_size seq_len"))
TORCHTITAN_MAIN = _table(_PYTHON.format(
    parallelism="num_pp_microbatches",
    training="num_tokens_per_microbatch_per_dp_rank num_tokens_per_train_step max_context_length"))

# accelerate/commands/config/config_args.py, commands/launch.py
ACCELERATE = _table("""
top: compute_environment distributed_type mixed_precision use_cpu debug num_processes machine_rank num_machines gpu_ids
  main_process_ip main_process_port rdzv_backend same_network main_training_function enable_cpu_affinity downcast_bf16
  fp8_config deepspeed_config fsdp_config parallelism_config megatron_lm_config mpirun_config dynamo_config
fsdp_config: fsdp_version fsdp_reshard_after_forward fsdp_auto_wrap_policy fsdp_transformer_layer_cls_to_wrap
  fsdp_state_dict_type fsdp_activation_checkpointing fsdp_offload_params fsdp_cpu_ram_efficient_loading fsdp_min_num_params
parallelism_config: parallelism_config_dp_replicate_size parallelism_config_dp_shard_size parallelism_config_tp_size
  parallelism_config_cp_size parallelism_config_cp_backend parallelism_config_cp_comm_strategy
""")

# deepspeed/runtime/config.py, zero/config.py, tensor_parallel/config.py
DEEPSPEED = _table("""
top: train_batch_size train_micro_batch_size_per_gpu gradient_accumulation_steps gradient_clipping bf16 fp16
  communication_data_type data_types zero_optimization tensor_parallel
bf16: enabled
fp16: enabled
data_types: grad_accum_dtype
zero_optimization: stage overlap_comm contiguous_gradients reduce_scatter reduce_bucket_size allgather_bucket_size
  stage3_prefetch_bucket_size stage3_param_persistence_threshold stage3_max_live_parameters stage3_max_reuse_distance
  offload_optimizer
zero_optimization.offload_optimizer: device pin_memory
tensor_parallel: autotp_size preset_model
""")

# nanotron/config/config.py, parallelism_config.py, models_config.py
NANOTRON = _table("""
top: checkpoints data_stages general lighteval logging model optimizer parallelism profiler tokenizer tokens
checkpoints: checkpoints_path checkpoint_interval save_initial_state save_final_state resume_checkpoint_path
  load_lr_scheduler load_optimizer checkpoints_path_is_shared_file_system
data_stages: name start_training_step data sequence_length
data_stages.data: dataset seed num_loading_workers
general: project run seed step consumed_train_samples benchmark_csv_path ignore_sanity_checks
logging: log_level log_level_replica iteration_step_info_interval
model: model_config init_method dtype make_vocab_size_divisible_by ddp_bucket_cap_mb
model.init_method: std
model.model_config: bos_token_id eos_token_id hidden_act hidden_size initializer_range intermediate_size is_llama_config
  max_position_embeddings num_attention_heads num_hidden_layers attention_bias num_key_value_heads pad_token_id
  pretraining_tp rms_norm_eps rope_scaling rope_theta rope_interleaved tie_word_embeddings use_cache vocab_size
optimizer: optimizer_factory zero_stage weight_decay clip_grad accumulate_grad_in_fp32 learning_rate_scheduler
  weight_decay_exclude_named_params
optimizer.optimizer_factory: adam_eps adam_beta1 adam_beta2 torch_adam_is_fused name
optimizer.learning_rate_scheduler: learning_rate lr_warmup_steps lr_warmup_style lr_decay_style lr_decay_steps
  lr_decay_starting_step min_decay_lr
parallelism: dp pp tp pp_engine tp_mode tp_linear_async_communication recompute_layer tp_recompute_allgather
  expert_parallel_size context_parallel_size
tokenizer: tokenizer_name_or_path tokenizer_revision tokenizer_max_length
tokens: sequence_length train_steps micro_batch_size batch_accumulation_per_replica val_check_interval limit_val_batches
  limit_test_batches
""")

# Megatron-LM: megatron/training/arguments.py
MEGATRON = set("""num-layers hidden-size ffn-hidden-size num-attention-heads group-query-attention num-query-groups kv-channels
    seq-length max-position-embeddings position-embedding-type rotary-base rotary-percent use-rope-scaling rope-scaling-factor
    swiglu normalization norm-epsilon disable-bias-linear add-qkv-bias qk-layernorm untie-embeddings-and-output-weights
    attention-dropout hidden-dropout init-method-std vocab-size make-vocab-size-divisible-by num-experts moe-router-topk
    moe-ffn-hidden-size moe-layer-freq moe-token-dispatcher-type moe-grouped-gemm moe-shared-expert-intermediate-size
    tensor-model-parallel-size sequence-parallel tp-comm-overlap pipeline-model-parallel-size pipeline-model-parallel-layout
    context-parallel-size cp-comm-type expert-model-parallel-size expert-tensor-parallel-size use-distributed-optimizer
    overlap-grad-reduce overlap-param-gather use-megatron-fsdp data-parallel-sharding-strategy
    no-gradient-accumulation-fusion ckpt-format num-distributed-optimizer-instances optimizer-cpu-offload
    optimizer-offload-fraction use-precision-aware-optimizer recompute-granularity recompute-method recompute-num-layers
    micro-batch-size global-batch-size clip-grad calculate-per-token-loss bf16 grad-reduce-in-bf16 fp8-format
    fp8-recipe""".split())


def _check_nested(known, read, section):
    """Every key of nested objects, by the name of their place."""
    if section:
        unknown = set(read) - known[section]
        assert not unknown, f"{section} has no {unknown}"
    for key, value in read.items():
        place = key if section in ("", "top") else f"{section}.{key}"
        for item in value if isinstance(value, list) else [value]:
            if isinstance(item, dict):
                _check_nested(known, item, place)


def _check_python(known, text):
    """Every `config.section.key = ...`."""
    for node in ast.walk(ast.parse(text)):
        if not isinstance(node, ast.Assign) or not isinstance(node.targets[0], ast.Attribute):
            continue
        *sections, key = ast.unparse(node.targets[0]).split(".")
        assert key in known[sections[-1]], f"{sections[-1]} has no {key}"


def check(target, text):
    """Raises AssertionError for a key that the target does not know."""
    if target == "torchtitan":
        _check_nested(TORCHTITAN, tomllib.loads(text), "")
    elif target in ("torchtitan-0.3", "torchtitan-main"):
        _check_python(TORCHTITAN_03 if target == "torchtitan-0.3" else TORCHTITAN_MAIN, text)
    elif target == "accelerate":
        _check_nested(ACCELERATE, yaml.safe_load(text), "top")
    elif target == "deepspeed":
        _check_nested(DEEPSPEED, json.loads(text), "top")
    elif target == "nanotron":
        read = yaml.safe_load(text)
        _check_nested(NANOTRON, read, "top")
        for section, key in (("model_config", "rms_norm_eps"), ("model_config", "rope_theta"), ("init_method", "std")):
            assert isinstance(read["model"][section][key], float), key
        for section, key in (("learning_rate_scheduler", "min_decay_lr"), ("optimizer_factory", "adam_eps")):
            assert isinstance(read["optimizer"][section][key], float), key
    elif target == "megatron":
        flags = set(re.findall(r"^  --([a-z0-9-]+)", text.split("exec torchrun")[0], re.MULTILINE))
        assert flags and flags <= MEGATRON, flags - MEGATRON

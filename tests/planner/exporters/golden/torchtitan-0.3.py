# For torchtitan v0.3.0 (Python config); written by meshplan 0.1.0
# llama-3.1-8b on h100-sxm: pp 2 x dp_replicate 1 x dp_shard 2 x cp 1 x tp 8
from torchtitan.components.loss import ChunkedLossWrapper, CrossEntropyLoss
from torchtitan.models.llama3 import model_registry
from torchtitan.models.llama3.config_registry import llama3_8b


def planned():
    config = llama3_8b()
    config.model_spec = model_registry("8B")
    config.compile.enable_async_tensor_parallel = False
    config.parallelism.data_parallel_replicate_degree = 1
    config.parallelism.data_parallel_shard_degree = 2
    config.parallelism.fsdp_reshard_after_forward = "always"
    config.parallelism.tensor_parallel_degree = 8
    config.parallelism.enable_sequence_parallel = True
    config.parallelism.context_parallel_degree = 1
    config.parallelism.expert_parallel_degree = 1
    config.parallelism.pipeline_parallel_degree = 2
    config.parallelism.pipeline_parallel_schedule = "Interleaved1F1B"
    config.parallelism.pipeline_parallel_microbatch_size = 16
    config.parallelism.module_fqns_per_model_part = [
    ["tok_embeddings", "layers.0", "layers.1", "layers.2", "layers.3", "layers.4", "layers.5", "layers.6", "layers.7"],
    ["layers.8", "layers.9", "layers.10", "layers.11", "layers.12", "layers.13", "layers.14", "layers.15"],
    ["layers.16", "layers.17", "layers.18", "layers.19", "layers.20", "layers.21", "layers.22", "layers.23"],
    ["layers.24", "layers.25", "layers.26", "layers.27", "layers.28", "layers.29", "layers.30", "layers.31", "norm", "lm_head"],
]
    config.training.disable_cuda_graphs = True
    config.training.local_batch_size = 64
    config.training.global_batch_size = 128
    config.training.seq_len = 8192
    config.training.max_norm = float("inf")
    config.training.dtype = "float32"
    config.training.mixed_precision_param = "bfloat16"
    config.training.mixed_precision_reduce = "float32"
    config.activation_checkpoint = None
    config.loss = ChunkedLossWrapper.Config(num_chunks=8, loss_fn=CrossEntropyLoss.Config(global_vocab_size=128256))
    return config

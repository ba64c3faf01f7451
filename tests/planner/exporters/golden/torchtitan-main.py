# For torchtitan main b5bcd76 (Python config); written by meshplan 0.1.0
# llama-3.1-8b on h100-sxm: pp 1 x dp_replicate 1 x dp_shard 4 x cp 1 x tp 8
from torchtitan.components.loss import ChunkedLossWrapper, CrossEntropyLoss
from torchtitan.distributed.activation_checkpoint import FullAC
from torchtitan.models.llama3 import model_registry
from torchtitan.models.llama3.config_registry import llama3_8b


def planned():
    config = llama3_8b()
    config.model_spec = model_registry("8B")
    config.compile.enable_async_tensor_parallel = False
    config.parallelism.data_parallel_replicate_degree = 1
    config.parallelism.data_parallel_shard_degree = 4
    config.parallelism.fsdp_reshard_after_forward = "default"
    config.parallelism.tensor_parallel_degree = 8
    config.parallelism.enable_sequence_parallel = True
    config.parallelism.context_parallel_degree = 1
    config.parallelism.expert_parallel_degree = 1
    config.parallelism.pipeline_parallel_degree = 1
    config.training.num_tokens_per_microbatch_per_dp_rank = 16 * 8192
    config.training.num_tokens_per_train_step = 256 * 8192
    config.training.max_context_length = 8192
    config.training.max_norm = float("inf")
    config.training.dtype = "float32"
    config.training.mixed_precision_param = "bfloat16"
    config.training.mixed_precision_reduce = "float32"
    config.activation_checkpoint = FullAC.Config()
    config.loss = ChunkedLossWrapper.Config(num_chunks=8, loss_fn=CrossEntropyLoss.Config(global_vocab_size=128256))
    return config

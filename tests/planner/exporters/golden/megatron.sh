#!/usr/bin/env bash
# For Megatron-LM core_v0.19.0 (bash); written by meshplan 0.1.0
# llama-3.1-8b on h100-sxm: pp 2 x dp_replicate 1 x dp_shard 2 x cp 1 x tp 8
# Runs in Megatron-LM's folder, on each node with its NODE_RANK and the first node's
# MASTER_ADDR; data, tokenizer, steps and learning rate are flags of pretrain_gpt.py behind it.
set -euo pipefail

export CUDA_DEVICE_MAX_CONNECTIONS=1

MODEL=(
  --num-layers 32
  --hidden-size 4096
  --ffn-hidden-size 14336
  --num-attention-heads 32
  --group-query-attention
  --num-query-groups 8
  --kv-channels 128
  --seq-length 8192
  --max-position-embeddings 131072
  --position-embedding-type rope
  --rotary-base 500000
  --use-rope-scaling
  --rope-scaling-factor 8.0
  --swiglu
  --normalization RMSNorm
  --norm-epsilon 1.0e-05
  --disable-bias-linear
  --untie-embeddings-and-output-weights
  --attention-dropout 0
  --hidden-dropout 0
  --init-method-std 0.02
  --vocab-size 128256
  --make-vocab-size-divisible-by 1
)
PARALLEL=(
  --tensor-model-parallel-size 8
  --sequence-parallel
  --pipeline-model-parallel-size 2
  --pipeline-model-parallel-layout 'Etttttttt|tttttttt|tttttttt|ttttttttL'
  --context-parallel-size 1
  --use-distributed-optimizer
  --overlap-grad-reduce
  --overlap-param-gather
  --optimizer-cpu-offload
  --optimizer-offload-fraction 1.0
  --use-precision-aware-optimizer
  --recompute-granularity full
  --recompute-method uniform
  --recompute-num-layers 1
)
STEP=(
  --micro-batch-size 16
  --global-batch-size 128
  --clip-grad 0.0
  --calculate-per-token-loss
  --bf16
)
exec torchrun --nproc_per_node 8 --nnodes 4 --node_rank "${NODE_RANK:-0}" \
  --master_addr "${MASTER_ADDR:-localhost}" --master_port "${MASTER_PORT:-29500}" \
  pretrain_gpt.py "${MODEL[@]}" "${PARALLEL[@]}" "${STEP[@]}" "$@"

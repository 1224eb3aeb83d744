#!/usr/bin/env bash
# HTPO | Qwen3-8B-Base on DAPO-Math-17k | FSDP or Megatron + vLLM, NVIDIA GPUs
#
#   bash scripts/run_htpo_qwen.sh [--dry-run] [hydra overrides]
#
# Run it on the head node of a Ray cluster (RAY_ADDRESS), or on a single node. --dry-run shows what would run.
#
# Knobs:
#   ALGO           preset of the objective table: htpo (default), dapo, htpo_paper_literal, htpo_released, ...
#   BACKEND        fsdp (default) or megatron
#   MODEL_PATH     model directory or Hugging Face name
#   TRAIN_FILES, VAL_FILES  parquet files made by data_prep
#   NNODES, GPUS_PER_NODE   size of the cluster
#   OUTPUT_DIR     directory of the run, on a file system that every node sees
set -euo pipefail

# user-adjustable
algo="${ALGO:-htpo}"
backend="${BACKEND:-fsdp}"
model_path="${MODEL_PATH:-Qwen/Qwen3-8B-Base}"
data_home="${DATA_HOME:-$HOME/data}"
train_files="${TRAIN_FILES:-$data_home/dapo_math_17k/train.parquet}"
val_files="${VAL_FILES:-$data_home/aime_2025/test.parquet}"
nnodes="${NNODES:-4}"
gpus_per_node="${GPUS_PER_NODE:-8}"
output_dir="${OUTPUT_DIR:-outputs/qwen_$algo}"

# derived defaults
python="${PYTHON:-python3}"
case "$backend" in
  fsdp) engine=dp ;;
  megatron) engine=megatron ;;
  *)
    echo "BACKEND is $backend; use fsdp or megatron" >&2
    exit 2
    ;;
esac
arguments=()
for argument in "$@"; do
  if [[ "$argument" == --dry-run ]]; then
    arguments+=(htpo.dry_run=True)
  else
    arguments+=("$argument")
  fi
done

command=(
  "$python" -m recipe.htpo.main_htpo
  platform=accelerator
  model_engine="$engine"
  objective="$algo"
  actor_rollout_ref.model.path="$model_path"
  data.train_files="$train_files"
  data.val_files="$val_files"
  trainer.nnodes="$nnodes"
  trainer.n_gpus_per_node="$gpus_per_node"
  htpo.output_dir="$output_dir"
  "${arguments[@]}"
)
printf '+ %s\n' "${command[*]}"
exec "${command[@]}"

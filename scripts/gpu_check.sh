#!/usr/bin/env bash
# One GPU | does what runs on CPUs here run on it, too | seven checks, a result line for each
#
#   bash scripts/gpu_check.sh [--dry-run]
#
# In this order: the packages, the objective's benchmark, THR's benchmark, one step with FSDP2, one step with Megatron,
# generation by vLLM after a weight synchronisation, twenty steps of the demo. It takes a small model that is made here and
# needs no network. A line is `ok`, or `FAIL` with the reason; the exit code is 1 when one failed. --dry-run prints
# the commands and what this machine lacks, and runs none of them.
#
# Knobs:
#   WHEELS      folder of wheels; with it a virtual environment is made from them alone, at OUTPUT_DIR/venv. On a machine
#               with a network: `pip download -d FOLDER` of what installs verl there, and `pip wheel --no-deps .`
#   PYTHON      Python with verl, vLLM and verl-htpo; with WHEELS the one that makes the environment (default: python3)
#   OUTPUT_DIR  logs, model, data and runs                                  (default: outputs/gpu_check)
#   CHECKS      which, separated by blanks: packages objective thr fsdp megatron vllm demo    (default: all)
#   TIMEOUT_S   seconds for each check                                      (default: 1200)
set -euo pipefail
unset CDPATH

# user-adjustable
wheels="${WHEELS:-}"
python="${PYTHON:-python3}"
output_dir="${OUTPUT_DIR:-outputs/gpu_check}"
checks="${CHECKS:-packages objective thr fsdp megatron vllm demo}"
timeout_s="${TIMEOUT_S:-1200}"

# derived defaults
refuse() {
  printf '%s\n' "$*" >&2
  exit 2
}
dry_run=false
for argument in "$@"; do
  [[ "$argument" == --dry-run ]] || refuse "usage: gpu_check.sh [--dry-run]"
  dry_run=true
done
for check in $checks; do
  case "$check" in
    packages | objective | thr | fsdp | megatron | vllm | demo) ;;
    *) refuse "CHECKS has $check; valid are: packages objective thr fsdp megatron vllm demo" ;;
  esac
done
[[ -z "$wheels" || -d "$wheels" ]] || refuse "WHEELS=$wheels is no folder"
root="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"
[[ "$output_dir" == /* ]] || output_dir="$PWD/$output_dir"
interpreter="$python"
if [[ -n "$wheels" ]]; then python="$output_dir/venv/bin/python"; fi
data="$output_dir/data" model="$output_dir/model"
export HF_HUB_OFFLINE=1
failed=0

# ok or FAIL; name; why or how long.
line() {
  printf '%-4s  %-9s  %s\n' "$1" "$2" "$3"
  [[ "$1" != FAIL ]] || failed=1
}
# The last command of a function; its output goes to the check's log, printed only in a dry run.
try() {
  if "$dry_run"; then
    printf '      +'
    printf ' %q' "$@"
    printf '\n'
  else
    timeout --kill-after=60 "$timeout_s" "$@"
  fi
}
# A check is a function of its name. What it prints is in the log.
check() {
  local name="$1" started=$SECONDS log="$output_dir/$1.log" code
  [[ " $checks " == *" $name "* ]] || return 0
  if "$dry_run"; then
    printf '%s\n' "$name"
    "$name"
    return 0
  fi
  # Not in an `if`: there `set -e` would not end a check at its first failure.
  set +e
  ("$name") >"$log" 2>&1
  code=$?
  set -e
  case "$code" in
    0) line ok "$name" "$((SECONDS - started)) s; $log" ;;
    *) line FAIL "$name" "exit code $code; $log: $(tail -n 1 "$log")" ;;
  esac
}

packages() {
  set -e
  if [[ -n "$wheels" ]]; then
    try "$interpreter" -m venv "$output_dir/venv"
    try bash -c "exec \"\$0\" -m pip install --no-index --no-deps --find-links \"\$1\" \"\$1\"/*.whl" "$python" "$wheels"
  fi
  try "$python" -c "
import torch, verl, vllm, flash_attn
from recipe.htpo.seams import plugin
assert plugin.is_loaded(), 'verl did not load the plugin'
assert torch.cuda.is_available(), 'torch sees no GPU'
print(torch.cuda.get_device_name(), torch.__version__, vllm.__version__, torch.version.cuda)"
}
objective() { try "$python" "$root/scripts/bench.py" loss --device cuda --json "$output_dir/objective.json"; }
thr() { try "$python" "$root/scripts/bench.py" weights --device cuda --json "$output_dir/thr.json"; }
# Model and data of the demo, once.
inputs() {
  set -e
  if [[ ! -d "$model" || ! -d "$data" ]]; then
    try "$python" -m data_prep build arithmetic --out "$data" --train-rows 400 --test-rows 16
    try "$python" -m recipe.htpo.lab.warmup --out "$model" --evaluation-prompts 0
  fi
}
# train NAME STEPS OVERRIDE...: the sizes of the CPU demo on one GPU.
train() {
  local name="$1" steps="$2"
  shift 2
  try "$python" -m recipe.htpo.main_htpo platform=accelerator trainer.nnodes=1 trainer.n_gpus_per_node=1 \
    data.train_files="$data/arithmetic/train.parquet" data.val_files="$data/arithmetic/test.parquet" \
    actor_rollout_ref.model.path="$model" htpo.output_dir="$output_dir/$name" trainer.total_training_steps="$steps" \
    data.train_batch_size=16 data.max_prompt_length=32 data.max_response_length=72 \
    reward.reward_kwargs.overlong_buffer_cfg.len=16 actor_rollout_ref.rollout.n=8 \
    actor_rollout_ref.actor.ppo_mini_batch_size=8 actor_rollout_ref.actor.ppo_max_token_len_per_gpu=4096 \
    actor_rollout_ref.actor.optim.lr_warmup_steps=0 actor_rollout_ref.rollout.gpu_memory_utilization=0.3 \
    actor_rollout_ref.rollout.max_model_len=104 actor_rollout_ref.rollout.val_kwargs.n=1 \
    trainer.val_before_train=False trainer.test_freq=-1 trainer.save_freq=-1 algorithm.filter_groups.enable=False \
    transfer_queue.backend.SimpleStorage.num_data_storage_units=2 "$@"
}
engine_fsdp=(model_engine=dp actor_rollout_ref.actor.strategy=fsdp2 actor_rollout_ref.ref.strategy=fsdp2
  actor_rollout_ref.actor.entropy_from_logits_with_chunking=True)
fsdp() {
  set -e
  inputs
  train fsdp 1 "${engine_fsdp[@]}"
}
megatron() {
  set -e
  inputs
  train megatron 1 model_engine=megatron actor_rollout_ref.actor.megatron.use_mbridge=True \
    actor_rollout_ref.actor.optim.use_checkpoint_opt_param_scheduler=True
}
# The second step's responses come from weights that went from the trainer to vLLM: both must see the same policy.
vllm() {
  set -e
  inputs
  train vllm 3 "${engine_fsdp[@]}"
  try "$python" -c "
import sys
from recipe.htpo.run.metrics_log import read_steps
steps = read_steps(sys.argv[1])
mean = max(steps[step]['training/rollout_probs_diff_mean'] for step in (2, 3))
print(f'vLLM and trainer differ by {mean:.4f} on average after a synchronisation')
assert mean < 0.02, 'more than bf16 explains: the weights did not arrive'" "$output_dir/vllm"
}
demo() {
  set -e
  inputs
  train demo 20 "${engine_fsdp[@]}"
  try "$python" -m recipe.htpo.run.report "$output_dir/demo"
}

type -P "$interpreter" >/dev/null || refuse "PYTHON=$python is not there"
if "$dry_run"; then
  type -P nvidia-smi >/dev/null || echo "this machine lacks nvidia-smi: it has no NVIDIA driver"
  for module in torch verl vllm flash_attn megatron.bridge transformer_engine; do
    [[ -n "$wheels" ]] || "$interpreter" -c "import importlib.util, sys
sys.exit(importlib.util.find_spec(sys.argv[1]) is None)" "$module" 2>/dev/null ||
      echo "this machine lacks $module in $interpreter"
  done
else
  nvidia-smi --query-gpu=name,driver_version,memory.total --format=csv,noheader 2>/dev/null ||
    refuse "nvidia-smi does not answer: the checks need a GPU (--dry-run shows them without one)"
  mkdir -p "$output_dir"
fi
for name in packages objective thr fsdp megatron vllm demo; do check "$name"; done
if "$dry_run"; then
  echo "nothing was run"
else
  exit "$failed"
fi

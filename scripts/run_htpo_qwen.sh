#!/usr/bin/env bash
# HTPO | Qwen3 0.6B to 32B and 30B-A3B on DAPO-Math-17k | Megatron or FSDP trains, vLLM serves | NVIDIA GPUs
#
#   bash scripts/run_htpo_qwen.sh [--dry-run] [hydra overrides]
#
# Run it on one node, or on the head node of a Ray cluster (docs/cluster.md). The same command resumes an interrupted
# run from its last checkpoint. --dry-run checks the settings, prints the plan and starts nothing.
#
# Knobs:
#   BACKEND        trains the model: megatron (default) or fsdp
#   MODEL          size of the layout: qwen3_8b (default), Qwen3-8B, 8b, 30b-a3b, ...
#   MODEL_PATH     model directory or Hugging Face name        (default: the layout's)
#   ALGO           preset of the objective table: htpo (default), dapo, htpo_paper_literal, htpo_released, ...
#   DATA_HOME      directory that `python -m data_prep build --out` wrote                   (default: ~/data)
#   TRAIN_FILES    parquet files, separated by commas  (default: $DATA_HOME/dapo_math_17k/train.parquet)
#   VAL_FILES      parquet files, separated by commas  (default: $DATA_HOME/aime_2025/test.parquet)
#   NNODES         nodes                                       (default: the layout's)
#   GPUS_PER_NODE  GPUs of a node                              (default: the layout's)
#   OUTPUT_DIR     directory of the run, on a file system that every node sees
#                                                              (default: outputs/${MODEL}_${BACKEND}_$ALGO)
#   RETRIES        starts after a crash; a wrong setting (exit code 2), a run that was asked to stop (75) and one ended
#                  by SIGINT or SIGTERM are not started again. SIGUSR1: save at the end of the step and stop (default: 3)
#   RETRY_WAIT_S   seconds before such a start                 (default: 10)
#   REFUSED_CODE   exit code for a wrong setting               (default: 2; 0 where a scheduler would try for ever)
#   PYTHON         Python with verl-htpo installed             (default: the python3 of the active environment)
#   RAY_ADDRESS    read by Ray: host:port of the cluster       (default: the cluster of this node, or a local one)
set -euo pipefail
unset CDPATH

# user-adjustable
backend="${BACKEND:-megatron}"
model="${MODEL:-qwen3_8b}"
model_path="${MODEL_PATH:-}"
algo="${ALGO:-htpo}"
data_home="${DATA_HOME:-$HOME/data}"
train_files="${TRAIN_FILES:-$data_home/dapo_math_17k/train.parquet}"
val_files="${VAL_FILES:-$data_home/aime_2025/test.parquet}"
nnodes="${NNODES:-}"
gpus_per_node="${GPUS_PER_NODE:-}"
retries="${RETRIES:-3}"
retry_wait_s="${RETRY_WAIT_S:-10}"
refused_code="${REFUSED_CODE:-2}"
python="${PYTHON:-python3}"

# derived defaults
refuse() {
  printf '%s\n' "$*" >&2
  exit 2
}
for number in "$retries" "$retry_wait_s" "$refused_code"; do
  # Bash reads a number with a leading 0 as an octal one
  [[ "$number" =~ ^(0|[1-9][0-9]*)$ ]] || refuse "RETRIES, RETRY_WAIT_S or REFUSED_CODE is $number; give a whole number"
done
# The names of the files that match, without directory and suffix, in one line.
names_of() {
  local file names=()
  for file in "$@"; do
    file="${file##*/}"
    # What all of a folder start from is none of them.
    [[ "$file" == base.yaml ]] || names+=("${file%.yaml}")
  done
  echo "${names[*]}"
}
absolute() {
  if [[ "$1" == /* || "$1" == *://* ]]; then printf '%s' "$1"; else printf '%s' "$PWD/$1"; fi
}
# shellcheck source=scripts/hydra_value.sh
source "$(dirname "${BASH_SOURCE[0]}")/hydra_value.sh"
# Absolute paths, as a Hydra list when there are several.
files_value() {
  local file files=() values=()
  IFS=, read -r -a files <<<"$1"
  for file in "${files[@]}"; do values+=("$(hydra_value "$(absolute "$file")")"); done
  if ((${#values[@]} == 1)); then
    printf '%s' "${values[0]}"
  else
    local IFS=,
    printf '[%s]' "${values[*]}"
  fi
}

# The configuration directory of the installed package; its files are the valid names.
if ! config="$("$python" -P - <<'PY'
import importlib.metadata
import importlib.util
import sys

if not any(entry.value == "recipe.htpo.seams.plugin" for entry in importlib.metadata.entry_points(group="verl.plugins")):
    sys.exit(1)
print(importlib.util.find_spec("recipe.htpo.config").submodule_search_locations[0])
PY
)"; then
  refuse "verl-htpo is not installed in $(type -P "$python" || echo "$python, which does not exist").
Activate its environment or set PYTHON; to install it: pip install --no-deps $(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"
fi

case "$backend" in
  megatron) engine=megatron ;;
  fsdp) engine=dp ;;
  *) refuse "BACKEND is $backend; valid are: fsdp megatron" ;;
esac
size="${model,,}"
size="${size##*/}"
size="${size%-base}"
size="${size//[-.]/_}"
[[ "$size" == qwen3_* ]] || size="qwen3_$size"
[[ -f "$config/layout/$backend/$size.yaml" ]] ||
  refuse "MODEL is $model; valid are: $(names_of "$config/layout/$backend"/qwen3_*.yaml)"
[[ -f "$config/objective/$algo.yaml" ]] ||
  refuse "ALGO is $algo; valid are: $(names_of "$config"/objective/*.yaml)"
output_dir="$(absolute "${OUTPUT_DIR:-outputs/${size}_${backend}_$algo}")"

command=(
  "$python" -m recipe.htpo.main_htpo
  platform=accelerator
  model_engine="$engine"
  layout="$backend/$size"
  objective="$algo"
  data.train_files="$(files_value "$train_files")"
  data.val_files="$(files_value "$val_files")"
  htpo.output_dir="$(hydra_value "$output_dir")"
)
if [[ -n "$model_path" ]]; then
  # A Hugging Face name looks like a relative path; a directory of that name comes first.
  if [[ -d "$model_path" || "$model_path" == .* ]]; then model_path="$(absolute "$model_path")"; fi
  command+=(actor_rollout_ref.model.path="$(hydra_value "$model_path")")
fi
if [[ -n "$nnodes" ]]; then command+=(trainer.nnodes="$nnodes"); fi
if [[ -n "$gpus_per_node" ]]; then command+=(trainer.n_gpus_per_node="$gpus_per_node"); fi
for argument in "$@"; do
  if [[ "$argument" == --dry-run ]]; then argument=htpo.dry_run=True; fi
  command+=("$argument")
done
printf '+'
printf ' %q' "${command[@]}"
printf '\n'

child=""
ending=""
# The exit code of a child, in `code`, however often a trap interrupts the wait.
await() {
  local status
  code=0
  while true; do
    trapped=false
    status=0
    wait "$1" || status=$?
    # 127: it was waited for already
    ((status == 127)) || code=$status
    "$trapped" || break
  done
}
# Sends a signal to the run, if there is one now and it still lives.
# shellcheck disable=SC2329 # traps call it
tell() {
  trapped=true
  [[ -z "$child" ]] || kill "$1" "$child" || true
}
asked=false
trap 'ending=130; tell -TERM' INT
trap 'ending=143; tell -TERM' TERM
trap 'asked=true; tell -USR1' USR1
for ((attempt = 1; ; attempt++)); do
  "${command[@]}" &
  child=$!
  await "$child"
  child=""
  if [[ -n "$ending" ]]; then exit "$ending"; fi
  # 138: SIGUSR1 came before the run listened to it
  if "$asked" && ((code == 138)); then code=75; fi
  case "$code" in
    0 | 75) exit "$code" ;;
    2) exit "$refused_code" ;;
  esac
  if "$asked" || ((attempt > retries)); then exit "$code"; fi
  echo "the run ended with exit code $code; starting it again, $attempt of $retries" >&2
  for ((second = 0; second < retry_wait_s; second++)); do
    # One at a time: a trap waits for the end of a command
    if [[ -n "$ending" ]] || "$asked"; then break; fi
    sleep 1 || true
  done
  if [[ -n "$ending" ]]; then exit "$ending"; fi
  if "$asked"; then exit 75; fi
done

#!/usr/bin/env bash
# HTPO | a 0.6 M parameter model on seeded arithmetic | verl + Ray + FSDP2 or Megatron + vLLM, no accelerator
#
#   bash scripts/run_htpo_cpu.sh [--dry-run] [backend=megatron] [hydra overrides]
#
# Does everything: environment, data, warm-up of the model, training with validation, table and curves. The same
# command resumes an interrupted run. Another configuration needs another OUTPUT_DIR. --dry-run shows what would run.
#
# Knobs:
#   ALGO        preset of the objective table: htpo (default), dapo, htpo_paper_literal, htpo_released, ...
#   BACKEND     what trains: fsdp (default) or megatron; backend=... on the command line says the same
#   OUTPUT_DIR  directory of the run                     (default: outputs/cpu_$ALGO, cpu_megatron_$ALGO)
#   CACHE_DIR   data and warm model, shared by all runs  (default: .cache)
#   SEED        seed of data order and sampling          (default: 42)
#   TRAIN_ROWS, TEST_ROWS  prompts to generate           (default: 8000, 768)
set -euo pipefail
unset CDPATH

# user-adjustable
algo="${ALGO:-htpo}"
backend="${BACKEND:-fsdp}"
seed="${SEED:-42}"
cache_dir="${CACHE_DIR:-.cache}"
train_rows="${TRAIN_ROWS:-8000}"
test_rows="${TEST_ROWS:-768}"
output_dir="${OUTPUT_DIR:-}"

# derived defaults
root="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"
cd "$root"
source scripts/hydra_value.sh
overrides=()
dry_run=false
for override in "$@"; do
  case "$override" in
    --dry-run)
      dry_run=true
      continue
      ;;
    htpo.output_dir=*) output_dir="${override#htpo.output_dir=}" ;;
    objective=*) algo="${override#objective=}" ;;
    backend=*)
      backend="${override#backend=}"
      continue
      ;;
  esac
  overrides+=("$override")
done
case "$backend" in
  fsdp) engine=(platform=cpu) prefix=cpu ;;
  megatron) engine=(platform=cpu_megatron model_engine=megatron) prefix=cpu_megatron ;;
  *)
    echo "backend is $backend; use fsdp or megatron" >&2
    exit 2
    ;;
esac
output_dir="${output_dir:-outputs/${prefix}_$algo}"
data_dir="$cache_dir/data_${train_rows}_${test_rows}"
model_dir="$cache_dir/demo_model"
phases="$output_dir/phases.tsv"

say() { printf '\n[%(%H:%M:%S)T] %s\n' -1 "$*"; }
started=$SECONDS
times=""
phase_done() {
  times+="$1"$'\t'"$((SECONDS - started))"$'\n'
  started=$SECONDS
}
run() {
  printf '+ %s\n' "$*"
  "$@"
}

say "1/5 environment"
python="$(HTPO_COMPILE=later bash scripts/setup_env.sh)"
train=(
  "$python" -m recipe.htpo.main_htpo
  "${engine[@]}"
  objective="$algo"
  htpo.output_dir="$(hydra_value "$output_dir")"
  data.train_files="$(hydra_value "$data_dir/arithmetic/train.parquet")"
  data.val_files="$(hydra_value "$data_dir/arithmetic/test.parquet")"
  data.seed="$seed"
  actor_rollout_ref.rollout.seed="$seed"
  actor_rollout_ref.model.path="$(hydra_value "$model_dir")"
  "${overrides[@]}"
)
if "$dry_run"; then
  run "${train[@]}" htpo.dry_run=True
  exit
fi
# The bytecode of a new environment is made beside the warm-up, which takes one core.
bash scripts/setup_env.sh --compile &
compiling=$!
phase_done environment

say "2/5 data: $train_rows training and $test_rows held-out problems"
run "$python" -m data_prep build arithmetic --out "$data_dir" --train-rows "$train_rows" --test-rows "$test_rows"
phase_done data

say "3/5 warm-up of the model"
run "$python" -m recipe.htpo.lab.warmup --out "$model_dir" --evaluation-prompts 0
wait "$compiling"
phase_done warm-up

say "4/5 training"
# One thread in each process: the processes already fill the cores.
export OMP_NUM_THREADS="${OMP_NUM_THREADS:-1}"
code=0
run "$python" -m recipe.htpo.run.supervise --output-dir "$output_dir" -- "${train[@]}" || code=$?
phase_done training
# A start that is refused leaves what an earlier one recorded.
((code == 2)) || { printf '%s' "$times" >"$phases.tmp" && mv "$phases.tmp" "$phases"; }
((code == 0)) || exit "$code"

say "5/5 report"
run "$python" -m recipe.htpo.run.report "$output_dir"

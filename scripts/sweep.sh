#!/usr/bin/env bash
# Every preset of the objective: 40 steps in the lab and 3 on the real stack, and one table of both.
#
#   bash scripts/sweep.sh [hydra overrides of the runs on the real stack]
#
# Finished runs are kept, so the command goes on where it was stopped. A directory belongs to one seed and one set of
# overrides.
#
# Knobs:
#   OUT        directory of the results        (default: outputs/sweep)
#   PRESETS    presets, separated by spaces     (default: all)
#   SEED       seed of all runs                 (default: 1)
#   LAB_STEPS, STACK_STEPS  steps of a run      (default: 40, 3)
set -euo pipefail
unset CDPATH

# user-adjustable
out="${OUT:-outputs/sweep}"
presets="${PRESETS:-}"
seed="${SEED:-1}"
lab_steps="${LAB_STEPS:-40}"
stack_steps="${STACK_STEPS:-3}"

# derived defaults
root="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"
cd "$root"
python="$(bash scripts/setup_env.sh)"
if [ -z "$presets" ]; then
  presets="$("$python" -c 'from recipe.htpo.objective import preset_names; print(*preset_names())')"
fi
read -r -a names <<<"$presets"
asked="SEED=$seed STACK_STEPS=$stack_steps $*"
for name in "${names[@]}"; do
  finished="$out/stack/$name/finished"
  # Of earlier versions it is empty.
  if [ -s "$finished" ] && [ "$(cat "$finished")" != "$asked" ]; then
    echo "$out/stack/$name is finished with $(cat "$finished"), not with $asked: choose another OUT" >&2
    exit 2
  fi
done
model_dir="${CACHE_DIR:-.cache}/demo_model"
export OMP_NUM_THREADS="${OMP_NUM_THREADS:-1}"

"$python" -m recipe.htpo.lab.warmup --out "$model_dir" --evaluation-prompts 0
"$python" -m recipe.htpo.lab run --objective "${names[@]}" --seeds "$seed" --steps "$lab_steps" \
  --model "$model_dir" --out "$out/lab"
for name in "${names[@]}"; do
  directory="$out/stack/$name"
  if [ -f "$directory/finished" ]; then
    continue
  fi
  ALGO="$name" OUTPUT_DIR="$directory" SEED="$seed" bash scripts/run_htpo_cpu.sh \
    trainer.total_training_steps="$stack_steps" trainer.val_before_train=False trainer.test_freq=-1 "$@"
  echo "$asked" >"$directory/finished"
done
"$python" -m recipe.htpo.lab sweep "$out"

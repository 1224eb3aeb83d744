#!/usr/bin/env bash
# Profile | a short run of scripts/run_htpo_cpu.sh: which process spends what at the start and in a step, and where
#
#   bash scripts/profile_cpu_run.sh [backend=megatron] [hydra overrides]
#
# Knobs:
#   OUTPUT_DIR  directory of the run; made anew     (default: outputs/profile)
#   STEPS       steps over which CPU time is taken  (default: 4)
set -euo pipefail
unset CDPATH

output_dir="${OUTPUT_DIR:-outputs/profile}"
steps="${STEPS:-4}"

cd "$(dirname "${BASH_SOURCE[0]}")/.."
python="$(bash scripts/setup_env.sh)"
PATH="$(dirname "$python"):$PATH"
if [[ -e "$output_dir" && ! -d "$output_dir/stacks" && -n "$(ls -A "$output_dir")" ]]; then
  echo "$output_dir is there and no profile; name another OUTPUT_DIR" >&2
  exit 2
fi
rm -rf "$output_dir"
mkdir -p "$output_dir/stacks"
export OUTPUT_DIR="$output_dir"
bash scripts/run_htpo_cpu.sh trainer.total_training_steps="$((steps + 12))" trainer.val_before_train=False \
  trainer.test_freq=-1 trainer.save_freq=-1 "$@" >"$output_dir/run.txt" 2>&1 &
run=$!
trap 'kill -INT "$run" 2>/dev/null || true; wait "$run" || true' EXIT
echo "profiling a run of $steps steps; its own output is in $output_dir/run.txt"
"$python" -m recipe.htpo.cpu.profile_run "$output_dir" --pid "$run" --steps "$steps"

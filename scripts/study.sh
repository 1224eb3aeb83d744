#!/usr/bin/env bash
# Study | every arm of docs/study.md in the lab, one JSON a run | CPU, one core
#
#   bash scripts/study.sh [PART ...]      default: all, in the order of `all_parts` below
#
# Finished runs are kept, so the same command goes on where it was stopped. In the background:
# `nohup bash scripts/study.sh >study.log &`. About 2 minutes of one core a run; a run of the part stack, which trains on
# the real stack, about 10 minutes of both cores.
#
# Knobs:
#   OUT      results: OUT/REGIME/ARM/seed_N.json, of countdown OUT/countdown/ARM, of the real stack OUT/stack/ARM
#            (default: docs/study/lab; runs of the stack themselves are in outputs/study)
#   MODEL    model that every run starts from            (default: docs/study/model, that of the published results;
#            of countdown MODEL_countdown; a warm-up on another machine ends at other weights)
#   WORKERS  runs at a time, one core each               (default: 1)
#   SEEDS    of arms, near, parts and forms, and of demo's first five runs of an arm  (default: 1 2 3 4 5)
set -euo pipefail
unset CDPATH

# user-adjustable
out="${OUT:-docs/study/lab}"
model="${MODEL:-docs/study/model}"
workers="${WORKERS:-1}"
read -ra seeds <<<"${SEEDS:-1 2 3 4 5}"

# derived defaults
root="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"
cd "$root"
all_parts=(arms more near countdown parts forms stack demo page)
parts=("$@")
if ((${#parts[@]} == 0)); then parts=("${all_parts[@]}"); fi
for part in "${parts[@]}"; do
  if [[ " ${all_parts[*]} " != *" $part "* ]]; then
    echo "part is $part; use one of: ${all_parts[*]}" >&2
    exit 2
  fi
done
python="$(bash scripts/setup_env.sh)"
export OMP_NUM_THREADS=1
first=(--seeds "${seeds[@]}")
next=(--seeds 6 7 8 9 10)
group_2=cells.hard_correct_high
group_4=cells.hard_wrong_high
group_8=cells.easy_wrong_high
no_detach_low=cells.hard_correct_low.detach_lowest=0
no_detach_high=cells.easy_correct_high.detach_highest=0
floors=(0.3 0.5 0.7)
scales=(0.25 0.5 1)
no_forks=("$group_2.rule=ppo" "$group_4.rule=ppo" "$group_8.rule=ppo")

lab() {
  local regime="$1"
  shift
  "$python" -m recipe.htpo.lab run --out "$out/$regime" --regime "$regime" --model "$model" --workers "$workers" \
    --steps 40 --eval-every 10 --final-samples 64 "$@"
}
controls() {
  lab "$1" "${first[@]}" --objective htpo --name htpo_random_split --control random_split
  lab "$1" "${first[@]}" --objective entropy_80_20 --name entropy_80_20_random_split --control random_split
  lab "$1" "${first[@]}" --objective dapo --name dapo_random_reward --control random_reward
}
# THR without tau, which drops most tokens.
undropped() {
  local preset
  for preset in thr_exploit thr_explore; do
    lab "$1" "${first[@]}" --objective "$preset" --name "${preset}_beta_0" weights.parameters.beta=0
  done
}
# The second task, from a model of its own.
countdown() {
  lab off_policy --task countdown --model "${model}_countdown" --out "$out/countdown" --seeds 1 2 3 "$@"
}
# PPO once more, for the published threshold selects no token in responses this short: equal to dapo on one machine, and
# on a second one (as published) apart from it by what rounding alone does.
ppo_again() {
  lab off_policy "${first[@]}" --objective htpo_paper --name ppo_again "${no_forks[@]}" "$no_detach_high"
}
# Each part of the method alone, without the others.
parts() {
  lab "$1" "${first[@]}" --objective htpo_paper --name detach_low_only "${no_forks[@]}" "$no_detach_high" \
    cells.hard_correct_low.detach_mode=rank
  lab "$1" "${first[@]}" --objective htpo_paper --name detach_high_only "${no_forks[@]}" "$no_detach_low"
  lab "$1" "${first[@]}" --objective htpo_paper --name encourage_only \
    "$group_4.rule=ppo" "$group_8.rule=ppo" "$no_detach_low" "$no_detach_high"
  lab "$1" "${first[@]}" --objective htpo_paper --name penalize_only \
    "$group_2.rule=ppo" "$no_detach_low" "$no_detach_high"
}
# All three fork terms, bounded.
forms() {
  local floor scale
  for scale in "${scales[@]}"; do
    for floor in "${floors[@]}"; do
      lab "$1" "${first[@]}" --objective htpo_paper --name "forks_x${scale}_floor_$floor" \
        "$group_2.scale=$scale" "$group_2.ceiling=2" \
        "$group_4.scale=$scale" "$group_4.floor=$floor" "$group_8.scale=$scale" "$group_8.floor=$floor"
    done
  done
}

# Responses of a model to held-out prompts, without the merged checkpoint beside them.
evaluated() {
  local name="$1" evaluation="outputs/study/evaluation/$1"
  shift
  bash scripts/eval.sh "$@" out="$evaluation"
  mkdir -p "$out/stack/$name"
  cp "$evaluation/responses.parquet" "$out/stack/$name/"
}
# The demo's run on the real stack from the study's model; evaluated like the lab's runs.
stack() {
  local seed preset run cache=.cache/study evaluate
  mkdir -p "$cache"
  if [[ ! -d "$cache/demo_model" ]]; then cp -r "$model" "$cache/demo_model"; fi
  evaluate=("$cache/data_8000_768/arithmetic/test.parquet" n=16 prompts=256 max_tokens=72)
  for seed in 42 1 2; do
    for preset in dapo htpo; do
      run="outputs/study/$preset/seed_$seed"
      CACHE_DIR="$cache" OUTPUT_DIR="$run" ALGO="$preset" SEED="$seed" bash scripts/run_htpo_cpu.sh
      evaluated "$preset/seed_$seed" "$run" "${evaluate[@]}"
    done
  done
  evaluated before_training "$cache/demo_model" "${evaluate[@]}"
}
# The demo's settings in the lab: tokens leave the clip range, and yet runs of one objective end within three.
demo() {
  local at_demo=(--out "$out/demo_settings" --steps 30 --eval-every 30 regime.lr=6e-5 regime.lr_schedule=cosine)
  lab off_policy "${first[@]}" --objective dapo htpo "${at_demo[@]}"
  lab off_policy "${next[@]}" --objective dapo htpo "${at_demo[@]}"
  lab off_policy "${first[@]}" --objective htpo --name group_4_only "$no_detach_low" "$no_detach_high" "${at_demo[@]}"
  lab off_policy "${first[@]}" --objective htpo --name detach_only "$group_4.rule=ppo" "${at_demo[@]}"
  lab off_policy "${first[@]}" --objective htpo --name htpo_random_split --control random_split "${at_demo[@]}"
}

# Tables of docs/study.md and its pictures, from what is finished.
tables() {
  local name="$1" results="$2" arm found=()
  shift 2
  for arm in "$@"; do
    if [[ -d "$results/$arm" ]]; then found+=("$results/$arm"); fi
  done
  if ((${#found[@]} > 1)); then
    "$python" -m recipe.htpo.compare "${found[@]}" --out "docs/study/$name" --into docs/study.md
  fi
}
page() {
  local name floor scale form_names=()
  for scale in "${scales[@]}"; do
    for floor in "${floors[@]}"; do form_names+=("forks_x${scale}_floor_$floor"); done
  done
  for name in off_policy near_policy countdown; do
    tables "$name" "$out/$name" dapo ppo_again htpo htpo_random_split htpo_paper htpo_released \
      detach_low_only detach_high_only encourage_only penalize_only ce_gppo \
      entropy_80_20 entropy_80_20_random_split thr_exploit thr_exploit_beta_0 thr_explore thr_explore_beta_0 \
      dapo_random_reward
  done
  for name in off_policy near_policy; do
    if compgen -G "$out/$name/forks_*" >/dev/null; then
      tables "forms_$name" "$out/$name" dapo htpo "${form_names[@]}"
    fi
  done
  tables stack "$out/stack" dapo htpo before_training
  tables demo_settings "$out/demo_settings" dapo htpo htpo_random_split group_4_only detach_only
  # Of an earlier warm model, with 8 samples.
  tables first_series docs/study/first_series/off_policy dapo htpo detach_only htpo_paper ce_gppo
}

if [[ "${parts[*]}" != page ]]; then "$python" -m recipe.htpo.lab.warmup --out "$model" --evaluation-prompts 0; fi
for part in "${parts[@]}"; do
  case "$part" in
    arms)
      lab off_policy "${first[@]}" --objective dapo htpo entropy_80_20 ce_gppo thr_exploit thr_explore
      controls off_policy
      lab off_policy "${first[@]}" --objective htpo_paper htpo_released
      undropped off_policy
      ;;
    more)
      lab off_policy "${next[@]}" --objective dapo htpo ce_gppo
      lab off_policy "${next[@]}" --objective htpo --name htpo_random_split --control random_split
      ;;
    near)
      lab near_policy "${first[@]}" --objective dapo htpo entropy_80_20 ce_gppo thr_exploit thr_explore
      controls near_policy
      lab near_policy "${first[@]}" --objective htpo_paper htpo_released
      undropped near_policy
      ;;
    countdown)
      "$python" -m recipe.htpo.lab.warmup --task countdown --out "${model}_countdown" --evaluation-prompts 0
      countdown --objective dapo htpo ce_gppo
      countdown --objective htpo --name htpo_random_split --control random_split
      ;;
    stack) stack ;;
    demo) demo ;;
    parts)
      ppo_again
      for regime in off_policy near_policy; do parts "$regime"; done
      ;;
    forms) for regime in off_policy near_policy; do forms "$regime"; done ;;
    page) page ;;
  esac
done
if [[ "${parts[*]}" != page ]]; then
  for folder in "$out"/*/; do
    if [[ "$folder" != */stack/ ]]; then "$python" -m recipe.htpo.lab table "$folder"; fi
  done
fi

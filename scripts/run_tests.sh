#!/usr/bin/env bash
# Tests | lint, types and the whole suite, end-to-end runs included | CPU
#
#   bash scripts/run_tests.sh [--fast] [pytest arguments]      e.g. --fast -k partition, --durations=25
#
# --fast leaves out end-to-end runs and single tests of more than 5 s, and draws few examples in property tests: for
# daily work. Without it everything runs: first what needs no training stack, then engines and end-to-end runs, two
# beside each other: their starts keep one core busy.
#
# Knobs:
#   HTPO_GOLDEN_DIR   directory of golden vectors for the objectives (default: the repository's small fixture)
#   HTPO_DATA_DIR     directory of real data files for the data_prep tests (default: fixtures)
#   HTPO_TEST_WORKERS processes for the quick tests; one more for those that mostly wait (default: 2)
set -euo pipefail
unset CDPATH

root="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"
cd "$root"
fast=false
arguments=()
for argument in "$@"; do
  if [[ "$argument" == --fast ]]; then fast=true; else arguments+=("$argument"); fi
done
python="$(bash scripts/setup_env.sh)"
export OMP_NUM_THREADS="${OMP_NUM_THREADS:-1}"
# Some fifty processes import the tests or the package: their bytecode is kept.
unset PYTHONDONTWRITEBYTECODE
workers="${HTPO_TEST_WORKERS:-2}"
quick="not slow and not stack"
if "$fast"; then profile=daily quick+=" and not long"; else profile=ci; fi
export HTPO_TEST_PROFILE="${HTPO_TEST_PROFILE:-$profile}"

say() { printf '\n[%(%H:%M:%S)T] %s\n' -1 "$*"; }

# pytest; that one part selected no test is no failure, that none did is one.
failed=()
selected=false
tests() {
  local name="$1" code=0
  shift
  "$python" -m pytest "$@" "${arguments[@]}" || code=$?
  if ((code != 5)); then selected=true; fi
  if ((code != 0 && code != 5)); then failed+=("$name"); fi
}

say "lint; types, beside the tests"
"$python" -m ruff check .
"$python" -m ruff format --check .
"$(dirname "$python")/shellcheck" scripts/*.sh scripts/ray_cluster/*.sh scripts/ray_cluster/*.sbatch .ci/run
mkdir -p .cache
"$python" -m mypy &>.cache/types.log &
types=$!
background=("$types")
# An interrupt does not reach what runs in the background.
trap 'kill "${background[@]}" 2>/dev/null || true' EXIT

say "tests without a training stack"
tests quick -m "$quick" -n "$workers" --dist loadfile
wait "$types" || failed+=("types")
say "types"
cat .cache/types.log
if ! "$fast"; then
  # The end-to-end runs start from the demo's warm model; most of what runs beside its making waits.
  "$python" -m recipe.htpo.lab.warmup --out .cache/demo_model --evaluation-prompts 0 &>.cache/warm_up.log &
  warm_up=$!
  background+=("$warm_up")
  say "tests that mostly wait: Ray clusters, browsers, simulations"
  tests slow -m slow -n "$((workers + 1))" --dist loadgroup
  say "engines and end-to-end runs"
  if ! wait "$warm_up"; then
    cat .cache/warm_up.log >&2
    failed+=("warm model")
  fi
  tests stack -m stack -n 2 --dist loadgroup
fi
say "done"
if ! "$selected"; then failed+=("no test was selected"); fi
if ((${#failed[@]})); then
  echo "failed: ${failed[*]}" >&2
  exit 1
fi

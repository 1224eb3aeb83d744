#!/usr/bin/env bash
# Tests | lint, types and the whole suite, end-to-end runs included | CPU
#
#   bash scripts/run_tests.sh [pytest arguments]      e.g. -m "not slow", -k partition
#
# Knobs:
#   HTPO_GOLDEN_DIR   directory of golden vectors for the objectives (default: the repository's small fixture)
#   HTPO_DATA_DIR     directory of real data files for the data_prep tests (default: fixtures)
set -euo pipefail

root="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"
cd "$root"
python="$(bash scripts/setup_env.sh)"
export OMP_NUM_THREADS="${OMP_NUM_THREADS:-1}"
"$python" -m ruff check .
"$python" -m ruff format --check .
"$python" -m mypy
"$(dirname "$python")/shellcheck" scripts/*.sh scripts/ray_cluster/*.sh scripts/ray_cluster/*.sbatch .ci/run
exec "$python" -m pytest "$@"

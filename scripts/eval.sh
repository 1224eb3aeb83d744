#!/usr/bin/env bash
# Evaluation | a model or checkpoint on prompts, through vLLM | CPU or GPU
#
#   bash scripts/eval.sh MODEL_OR_CHECKPOINT DATA... [n=32 out=DIR against=MODEL ...]
#
# Samples every prompt, judges, writes OUT/responses.parquet, prints pass@1 with its interval, pass@n and maj@n. The same
# command goes on where it was killed. With against= a second model is evaluated on the same prompts, compared and drawn.
# All settings: docs/evaluation.md.
#
# Knobs:
#   HTPO_EVAL_PYTHON  interpreter that has the project and vLLM (default: the CPU environment of setup_env.sh)
set -euo pipefail
unset CDPATH

root="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"
python="${HTPO_EVAL_PYTHON:-$(bash "$root/scripts/setup_env.sh")}"
exec "$python" -m recipe.htpo.evaluation "$@"

#!/usr/bin/env bash
# GPU node | verl 0.9.1 from its source with vLLM and Megatron or FSDP, then verl-htpo | uv, Linux x86-64
#
#   bash scripts/install_gpu.sh [--dry-run]
#
# The extras of verl's package do not resolve on the package index (Megatron-Bridge, apex and Transformer Engine have
# other sources); verl's own project file knows these sources, so its environment is made by `uv sync` from a checkout.
# --dry-run prints the commands and runs none.
#
# Knobs:
#   BACKEND      trains the model: megatron (default) or fsdp
#   VERL_SOURCE  checkout of verl at v0.9.1; cloned where it is missing   (default: ~/verl-0.9.1)
#   OFFLINE      true: no network; uv takes everything from its cache     (default: false)
set -euo pipefail
unset CDPATH

# user-adjustable
backend="${BACKEND:-megatron}"
verl_source="${VERL_SOURCE:-$HOME/verl-0.9.1}"
offline="${OFFLINE:-false}"

# derived defaults
refuse() {
  printf '%s\n' "$*" >&2
  exit 2
}
case "$backend" in
  megatron | fsdp) ;;
  *) refuse "BACKEND is $backend; valid are: fsdp megatron" ;;
esac
dry_run=false
for argument in "$@"; do
  [[ "$argument" == --dry-run ]] || refuse "usage: install_gpu.sh [--dry-run]"
  dry_run=true
done
root="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"
python="$verl_source/.venv/bin/python"
uv_args=()
if [[ "$offline" == true ]]; then uv_args+=(--offline); fi
modules="flash_attn, vllm"
if [[ "$backend" == megatron ]]; then modules+=", megatron.bridge, transformer_engine.pytorch, modelopt"; fi

run() {
  printf '+'
  printf ' %q' "$@"
  printf '\n'
  "$dry_run" || "$@"
}
"$dry_run" || type -P uv >/dev/null || refuse "uv is not installed: https://docs.astral.sh/uv"
if [[ ! -d "$verl_source" ]]; then
  [[ "$offline" != true ]] || refuse "VERL_SOURCE=$verl_source is not there, and OFFLINE=true clones nothing"
  run git clone --depth 1 --branch v0.9.1 https://github.com/volcengine/verl "$verl_source"
fi
run uv sync "${uv_args[@]}" --project "$verl_source" --python 3.12 --extra vllm --extra "$backend"
# verl's environment stays as it is: what this package wants beyond verl, then the package alone
run uv pip install "${uv_args[@]}" --python "$python" duckdb huggingface-hub jinja2 matplotlib mpmath orjson pydantic pyyaml rensa rich scipy statsmodels tqdm
run uv pip install "${uv_args[@]}" --python "$python" --no-deps "$root"
run "$python" -c "import verl, $modules; from recipe.htpo.seams import plugin; assert plugin.is_loaded()"
if ! "$dry_run"; then echo "installed; run with PYTHON=$python"; fi

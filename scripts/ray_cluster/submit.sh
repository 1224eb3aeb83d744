#!/usr/bin/env bash
# HTPO as a Ray job | this clone and the run's settings to a cluster that is there already | `ray job submit`
#
#   DASHBOARD=http://10.0.0.1:8265 OUTPUT_DIR=/shared/runs/htpo bash scripts/ray_cluster/submit.sh [--dry-run] [overrides]
#
# The package travels with the job: nodes that have verl and vLLM but not verl-htpo load it, its plugin included, from
# the job's working directory. Ctrl-C ends the log, not the job. The exit code is the training run's.
#
# Knobs (those of run_htpo_qwen.sh count too; their paths are absolute, on a file system that every node sees):
#   DASHBOARD    address of the cluster's dashboard                           (default: http://127.0.0.1:8265)
#   OUTPUT_DIR   directory of the run; required
#   RUNTIME_ENV  YAML file with the environment of the job                    (default: runtime_env.yaml beside this)
#   JOB_PYTHON   Python of the nodes                                          (default: python3)
#   NO_WAIT      true: do not follow the log                                  (default: false)
#   RAY_AUTH_MODE, RAY_AUTH_TOKEN_PATH  as the cluster has them, see node.sh
#   PYTHON       Python of this machine with ray and setuptools               (default: python3)
set -euo pipefail
unset CDPATH

# user-adjustable
dashboard="${DASHBOARD:-http://127.0.0.1:8265}"
output_dir="${OUTPUT_DIR:-}"
root="$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)"
runtime_env="${RUNTIME_ENV:-$root/scripts/ray_cluster/runtime_env.yaml}"
job_python="${JOB_PYTHON:-python3}"
no_wait="${NO_WAIT:-false}"
python="${PYTHON:-python3}"

# derived defaults
refuse() {
  printf '%s\n' "$*" >&2
  exit 2
}
[[ -n "$output_dir" ]] || refuse "set OUTPUT_DIR: an absolute path that every node sees"
knobs=("PYTHON=$job_python")
for name in BACKEND MODEL MODEL_PATH ALGO DATA_HOME TRAIN_FILES VAL_FILES NNODES GPUS_PER_NODE OUTPUT_DIR; do
  value="${!name:-}"
  [[ -n "$value" ]] || continue
  case "$name" in
    DATA_HOME | TRAIN_FILES | VAL_FILES | OUTPUT_DIR)
      [[ "$value" == /* && "$value" != *,[!/]* ]] || refuse "$name is $value; give absolute paths, the run is elsewhere"
      ;;
  esac
  knobs+=("$name=$value")
done

if ! "$python" - "$dashboard" <<'PY'
import os
import sys
import threading

from ray.job_submission import JobSubmissionClient

timer = threading.Timer(30, lambda: (print("no answer in 30 s", file=sys.stderr, flush=True), os._exit(1)))
timer.daemon = True
timer.start()
try:
    version = JobSubmissionClient(sys.argv[1]).get_version()
except Exception as error:
    sys.exit(str(error).strip().splitlines()[0])
print(f"Ray {version} answers at {sys.argv[1]}")
PY
then
  refuse "no Ray cluster takes jobs at $dashboard. Set DASHBOARD to its address (node.sh: DASHBOARD_PORT, DASHBOARD_HOST;" \
    "from outside: ssh -L 8265:127.0.0.1:8265 HEAD), and RAY_AUTH_MODE and RAY_AUTH_TOKEN_PATH as the cluster has them"
fi

# A fresh copy is built, so that nothing of an earlier build in the clone comes along.
stage="$(mktemp -d)"
trap 'rm -rf "$stage"' EXIT
mkdir "$stage/source"
cp -R "$root"/{pyproject.toml,README.md,LICENSE,recipe,data_prep} "$stage/source"
"$python" -m pip --disable-pip-version-check install --quiet --no-deps --no-build-isolation --no-compile \
  --target "$stage/job" "$stage/source" || refuse "the package could not be built; pip install 'setuptools>=77' may help"
mkdir "$stage/job/scripts"
cp "$root"/scripts/{run_htpo_qwen,hydra_value}.sh "$stage/job/scripts"

command=("$python" -m ray.scripts.scripts job submit --address "$dashboard" --working-dir "$stage/job"
  --runtime-env "$runtime_env")
if [[ "$no_wait" == true ]]; then command+=(--no-wait); fi
command+=(-- env "${knobs[@]}" bash scripts/run_htpo_qwen.sh "$@")
printf '+'
printf ' %q' "${command[@]}"
printf '\n'
"${command[@]}"

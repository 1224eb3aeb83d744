#!/usr/bin/env bash
# Fault campaign | kills, full disks, broken rewards, NaN, clock jumps | CPU, FSDP2 and Megatron | about an hour
#
#   bash scripts/fault_campaign.sh [SCENARIO...]      e.g. five_kills, disk_full, 'nan_logits', 'five_kills[fsdp-1]'
#
# Each fault meets a short training run of the demo; the same command then continues it. Results are appended to
# $FAULTS_OUT/results.jsonl and shown as the table of docs/faults.md. Needs root, or
# `unshare --user --map-root-user --mount bash scripts/fault_campaign.sh`: /dev/shm and /tmp are mounts of its own.
#
# Knobs:
#   FAULTS_OUT    runs and results                                       (default: outputs/faults)
#   CACHE_DIR     data and warm model                                    (default: .cache)
#   FAKETIME_LIB  path of libfaketimeMT.so.1, for the jumps of the clock (default: they are left out); newer than
#                 0.9.10, under which Python cannot sleep where monotonic clocks are to go on
#   RUN_WITH      command before each scenario, such as `flock FILE`     (default: none)
set -euo pipefail
unset CDPATH

root="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"
cd "$root"
export FAULTS_OUT="${FAULTS_OUT:-outputs/faults}"
read -ra run_with <<<"${RUN_WITH:-}"
python="$(bash scripts/setup_env.sh)"

if (($# == 0)); then set -- ""; fi
mapfile -t scenarios < <(
  "$python" -m pytest -q --collect-only -m faults tests/faults/test_faults.py | grep '::' | while read -r scenario; do
    for name in "$@"; do
      if [[ "$scenario" == *"$name"* ]]; then echo "$scenario" && break; fi
    done
  done
)
if ((${#scenarios[@]} == 0)); then
  echo "no scenario of that name" >&2
  exit 2
fi
code=0
for scenario in "${scenarios[@]}"; do
  printf '\n[%(%H:%M:%S)T] %s\n' -1 "$scenario"
  "${run_with[@]}" "$python" -m pytest -q -m faults "$scenario" || code=1
done
"$python" tests/faults/fault_table.py "$FAULTS_OUT/results.jsonl"
exit "$code"

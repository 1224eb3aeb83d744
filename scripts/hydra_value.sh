#!/usr/bin/env bash
# For `source` | hydra_value TEXT: the value of a Hydra override, quoted where Hydra would read more than a plain word
set -euo pipefail

hydra_value() {
  local value="$1"
  if [[ "$value" =~ ^[A-Za-z0-9_./:@%+-]+$ ]]; then
    printf '%s' "$value"
  else
    value="${value//\\/\\\\}"
    printf "'%s'" "${value//\'/\\\'}"
  fi
}

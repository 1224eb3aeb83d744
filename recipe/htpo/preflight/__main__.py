# Copyright 2026 The verl-htpo authors
# SPDX-License-Identifier: Apache-2.0
"""`python -m recipe.htpo.preflight [hydra overrides]`: the checks alone."""

import sys

from recipe.htpo import main_htpo

sys.argv.append("htpo.dry_run=True")
main_htpo.main()

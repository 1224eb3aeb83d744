# Copyright 2026 The verl-htpo authors
# SPDX-License-Identifier: Apache-2.0
"""`python -m recipe.htpo.preflight [hydra overrides]`: every check, for the run that `main_htpo` would start here."""

import sys

import hydra
from omegaconf import DictConfig

from recipe.htpo import preflight
from recipe.htpo.config import follow_objective
from recipe.htpo.preflight.plan.show import print_summary


@hydra.main(config_path="../config", config_name="htpo_trainer", version_base=None)
def main(config: DictConfig) -> None:
    """Exit code 0 when the run may start, 2 with all problems when not."""
    follow_objective(config)
    problems = preflight.find_problems(config)
    if problems:
        preflight.print_problems(problems)
        sys.exit(preflight.EXIT_CODE)
    print_summary(config)
    preflight.print_warnings(config)
    print("preflight passed")


if __name__ == "__main__":
    main()

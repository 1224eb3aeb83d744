# Copyright 2026 The verl-htpo authors
# SPDX-License-Identifier: Apache-2.0
"""Everything that can be known to be wrong before a process is started: all problems at once, each with its remedy.

`python -m recipe.htpo.preflight [hydra overrides]` runs it alone; `main_htpo` runs it first.
"""

import sys
from collections.abc import Sequence

from omegaconf import DictConfig

from recipe.htpo.preflight import environment, inputs, run_dir, settings, sizes
from recipe.htpo.preflight.problem import Check, Problem

__all__ = ["EXIT_CODE", "Problem", "find_problems", "print_problems"]

EXIT_CODE = 2

CHECKS: tuple[Check, ...] = (
    environment.check_versions,
    environment.check_plugin,
    settings.check_missing,
    settings.check_objective,
    settings.check_trainer_mode,
    settings.check_legacy_reward_keys,
    settings.check_cpu,
    sizes.check_batches,
    sizes.check_lengths,
    inputs.check_model_and_data,
)


def find_problems(config: DictConfig) -> list[Problem]:
    """Run every check on a composed configuration. The output directory is only compared when all else is well."""
    problems = [problem for check in CHECKS for problem in check(config)]
    return problems or list(run_dir.check_output_dir(config))


def print_problems(problems: Sequence[Problem]) -> None:
    """Print the problems, numbered, to stderr."""
    print(f"preflight: {len(problems)} problem{'s' if len(problems) > 1 else ''}; nothing was started", file=sys.stderr)
    for number, problem in enumerate(problems, start=1):
        print(f"{number:3d}. {problem}", file=sys.stderr)

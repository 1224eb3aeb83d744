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

__all__ = ["EXIT_CODE", "Problem", "config_problems", "find_problems", "machine_problems", "print_problems"]

EXIT_CODE = 2

CONFIG_CHECKS: tuple[Check, ...] = (
    settings.check_missing,
    settings.check_objective,
    settings.check_trainer_mode,
    settings.check_legacy_reward_keys,
    settings.check_cpu,
    sizes.check_batches,
    sizes.check_lengths,
)

MACHINE_CHECKS: tuple[Check, ...] = (
    environment.check_versions,
    environment.check_plugin,
    inputs.check_model_and_data,
)


def config_problems(config: DictConfig) -> list[Problem]:
    """What is wrong with the configuration wherever it runs."""
    return [problem for check in CONFIG_CHECKS for problem in check(config)]


def machine_problems(config: DictConfig) -> list[Problem]:
    """What this machine lacks for the run: packages, the model, the data."""
    return [problem for check in MACHINE_CHECKS for problem in check(config)]


def find_problems(config: DictConfig) -> list[Problem]:
    """Run every check on a composed configuration. The output directory is only compared when all else is well."""
    problems = config_problems(config) + machine_problems(config)
    return problems or list(run_dir.check_output_dir(config))


def print_problems(problems: Sequence[Problem]) -> None:
    """Print the problems, numbered, to stderr."""
    print(f"preflight: {len(problems)} problem{'s' if len(problems) > 1 else ''}; nothing was started", file=sys.stderr)
    for number, problem in enumerate(problems, start=1):
        print(f"{number:3d}. {problem}", file=sys.stderr)

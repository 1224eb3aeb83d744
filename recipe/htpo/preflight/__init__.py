# Copyright 2026 The verl-htpo authors
# SPDX-License-Identifier: Apache-2.0
"""Everything that would fail, hang or train something else is found before Ray or a model is started.

Problems are collected, not raised one by one. The checks are two tables, of keys (`keys`) and of divisions (`sizes`),
the reward (`reward_function`), what verl says itself (`verl_config`), then this machine (`machine`); `nodes` looks at
the nodes of a cluster.
"""

import sys
from collections.abc import Callable, Iterator, Sequence

from omegaconf import DictConfig

from recipe.htpo.preflight import keys, machine, reward_function, sizes, verl_config
from recipe.htpo.problem import EXIT_CODE, Problem

__all__ = ["EXIT_CODE", "Problem", "config_problems", "find_problems", "machine_problems", "print_problems"]

# EX_UNAVAILABLE of sysexits.h: nodes are missing that may come. The scripts start it again.
UNAVAILABLE = 69

Check = Callable[[DictConfig], Iterator[Problem]]

SETTINGS: tuple[Check, ...] = (
    keys.check_missing,
    keys.check_objective,
    keys.check_general_keys,
    reward_function.check_reward_options,
)
# What the others build upon: which engine, and that sizes are numbers.
BASICS: tuple[Check, ...] = (verl_config.check_engine, sizes.check_numbers)
ENGINE: tuple[Check, ...] = (
    keys.check_engine_keys,
    sizes.check_divisions,
    sizes.check_micro_batches,
    verl_config.check_transformer_keys,
    verl_config.check_dataclasses,
)
MACHINE: tuple[Check, ...] = (
    machine.check_versions,
    machine.check_plugin,
    machine.check_python_path,
    machine.check_deadline,
    machine.check_model_and_data,
    reward_function.check_reward_function,
)


def config_problems(config: DictConfig) -> list[Problem]:
    """What is wrong with the configuration wherever it runs."""
    basics = _run(BASICS, config)
    problems = _run(SETTINGS, config) + (basics or _run(ENGINE, config))
    return problems or list(verl_config.check_verls_validation(config))


def machine_problems(config: DictConfig) -> list[Problem]:
    """What this machine lacks for the run: packages, the model, the data, room for checkpoints."""
    # A checkpoint of two engines has no size.
    return _run(MACHINE, config) + ([] if _run(BASICS, config) else list(machine.check_disk(config)))


def find_problems(config: DictConfig) -> list[Problem]:
    """Run every check on a composed configuration. The output directory is only compared when all else is well."""
    problems = config_problems(config) + machine_problems(config)
    return problems or list(machine.check_output_dir(config))


def print_problems(problems: Sequence[Problem]) -> None:
    """Print the problems, numbered, to stderr."""
    print(f"preflight: {len(problems)} problem{'s' if len(problems) > 1 else ''}; nothing was started", file=sys.stderr)
    for number, problem in enumerate(problems, start=1):
        print(f"{number:3d}. {problem}", file=sys.stderr)


def exit_code(problems: Sequence[Problem]) -> int:
    """Of a run with these problems: whether time alone may mend them."""
    return UNAVAILABLE if all(problem.transient for problem in problems) else EXIT_CODE


def print_warnings(config: DictConfig) -> None:
    """Print what is allowed and known to go wrong."""
    for warning in keys.check_warnings(config):
        print(f"warning: {warning}", flush=True)


def _run(checks: Sequence[Check], config: DictConfig) -> list[Problem]:
    return [problem for check in checks for problem in check(config)]

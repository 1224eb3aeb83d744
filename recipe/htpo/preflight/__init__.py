# Copyright 2026 The verl-htpo authors
# SPDX-License-Identifier: Apache-2.0
"""Everything that can be known to be wrong before a process is started: all problems at once, each with its remedy.

`python -m recipe.htpo.preflight [hydra overrides]` runs it alone; `main_htpo` runs it first.
"""

import sys
from collections.abc import Sequence

from omegaconf import DictConfig

from recipe.htpo.preflight import (
    checkpoints,
    engine,
    environment,
    inputs,
    megatron,
    micro_batches,
    numbers,
    parallelism,
    precision,
    run_dir,
    separate_async,
    serving,
    settings,
    sizes,
    unread,
    verl_config,
)
from recipe.htpo.preflight.problem import Check, Problem

__all__ = ["EXIT_CODE", "Problem", "config_problems", "find_problems", "machine_problems", "print_problems"]

EXIT_CODE = 2

SETTINGS_CHECKS: tuple[Check, ...] = (
    settings.check_missing,
    settings.check_objective,
    settings.check_token_dump,
    settings.check_distillation,
    settings.check_reward_model,
    settings.check_trainer_mode,
    settings.check_legacy_reward_keys,
    checkpoints.check_checkpoints,
    engine.check_layout_has_gpus,
)

# What the others build upon: which engine, and that sizes are numbers.
BASIC_CHECKS: tuple[Check, ...] = (engine.check_engine, numbers.check_numbers)

ENGINE_CHECKS: tuple[Check, ...] = (
    precision.check_cpu,
    settings.check_entropy_precision,
    settings.check_generation_budget,
    megatron.check_megatron,
    unread.check_unread,
    unread.check_misleading,
    unread.check_router_replay,
    megatron.check_transformer_keys,
    sizes.check_batches,
    sizes.check_lengths,
    micro_batches.check_micro_batches,
    parallelism.check_training_groups,
    serving.check_serving,
    separate_async.check_separate_async,
    verl_config.check_dataclasses,
)

MACHINE_CHECKS: tuple[Check, ...] = (
    environment.check_versions,
    environment.check_plugin,
    inputs.check_model_and_data,
    checkpoints.check_disk,
)


def config_problems(config: DictConfig) -> list[Problem]:
    """What is wrong with the configuration wherever it runs.

    Sizes are only compared when they are numbers of one engine, and verl's own validation, which stops at the first
    error, is only asked when nothing else is wrong.
    """
    basics = _run(BASIC_CHECKS, config)
    problems = _run(SETTINGS_CHECKS, config) + (basics or _run(ENGINE_CHECKS, config))
    return problems or list(verl_config.check_verls_validation(config))


def machine_problems(config: DictConfig) -> list[Problem]:
    """What this machine lacks for the run: packages, the model, the data."""
    return _run(MACHINE_CHECKS, config)


def find_problems(config: DictConfig) -> list[Problem]:
    """Run every check on a composed configuration. The output directory is only compared when all else is well."""
    problems = config_problems(config) + machine_problems(config)
    return problems or list(run_dir.check_output_dir(config))


def print_problems(problems: Sequence[Problem]) -> None:
    """Print the problems, numbered, to stderr."""
    print(f"preflight: {len(problems)} problem{'s' if len(problems) > 1 else ''}; nothing was started", file=sys.stderr)
    for number, problem in enumerate(problems, start=1):
        print(f"{number:3d}. {problem}", file=sys.stderr)


def print_warnings(config: DictConfig) -> None:
    """Print what is allowed and known to go wrong."""
    for warning in (*settings.objective_warnings(config), *settings.queue_warnings(config)):
        print(f"warning: {warning}", flush=True)


def _run(checks: Sequence[Check], config: DictConfig) -> list[Problem]:
    return [problem for check in checks for problem in check(config)]

# Copyright 2026 The verl-htpo authors
# SPDX-License-Identifier: Apache-2.0
"""Train with HTPO: `python -m recipe.htpo.main_htpo [platform=cpu] [hydra overrides]`.

Composes the configuration, runs the preflight, records the run in `htpo.output_dir`, and hands over to verl's own
task runner. `htpo.dry_run=True` shows what would run and stops.
"""

import os
import sys

import hydra
from omegaconf import DictConfig, open_dict


@hydra.main(config_path="config", config_name="htpo_trainer", version_base=None)
def main(config: DictConfig) -> None:
    """Preflight, then verl's training run."""
    from recipe.htpo import preflight

    if config.htpo.dry_run:
        dry_run(config)
        return
    problems = preflight.find_problems(config)
    if problems:
        preflight.print_problems(problems)
        sys.exit(preflight.EXIT_CODE)
    train(config)


def dry_run(config: DictConfig) -> None:
    """Show what would run. Problems of the configuration are errors; what only this machine lacks is listed."""
    from recipe.htpo import preflight
    from recipe.htpo.preflight.summary import print_summary

    problems = preflight.config_problems(config)
    if problems:
        preflight.print_problems(problems)
        sys.exit(preflight.EXIT_CODE)
    print_summary(config)
    lacking = preflight.machine_problems(config)
    print("the configuration is sound; nothing was started")
    if lacking:
        print(f"this machine lacks {len(lacking)} thing{'s' if len(lacking) > 1 else ''} that the run needs:")
        print("\n".join(f"  - {problem}" for problem in lacking))


def train(config: DictConfig) -> None:
    """Run verl's trainer on a configuration that passed the preflight."""
    if config.trainer.device == "cpu":
        from recipe.htpo import cpu

        # For the processes to come; in this one Hydra has imported verl, and with it the plugin, already.
        os.environ["VERL_PLATFORM"] = "cpu"
        cpu.activate()

    from verl.trainer.main_ppo import TaskRunnerV1, run_ppo
    from verl.trainer.ppo.utils import need_critic, need_reference_policy
    from verl.utils.config import validate_config
    from verl.utils.device import auto_set_device

    from recipe.htpo.run import record

    auto_set_device(config)
    validate_config(config=config, use_reference_policy=need_reference_policy(config), use_critic=need_critic(config))
    record.write_config(config.htpo.output_dir, config)
    metrics_file = record.next_metrics_file(config.htpo.output_dir)
    os.environ["VERL_FILE_LOGGER_PATH"] = str(metrics_file.resolve())
    with open_dict(config):
        environment = config.ray_kwargs.ray_init.runtime_env.setdefault("env_vars", {})
        for name in ("VERL_FILE_LOGGER_PATH", "VERL_PLATFORM"):
            if name in os.environ:
                environment[name] = os.environ[name]
    run_ppo(config, task_runner_class=TaskRunnerV1)


if __name__ == "__main__":
    main()

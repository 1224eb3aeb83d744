# Copyright 2026 The verl-htpo authors
# SPDX-License-Identifier: Apache-2.0
"""Train with HTPO: `python -m recipe.htpo.main_htpo [platform=cpu] [hydra overrides]`.

Composes the configuration, runs the preflight, records the run in `htpo.output_dir`, and hands over to verl's own
task runner. `htpo.dry_run=True` shows what would run and stops. A cluster that runs already is found by
`+ray_kwargs.ray_init.address=...` or the environment's `RAY_ADDRESS`.
"""

import os
import sys
from pathlib import Path

import hydra
from omegaconf import DictConfig, open_dict

# What processes on other nodes need of this one's environment; verl forwards none of it.
FORWARDED = ("HTPO_DEADLINE", "HTPO_HEARTBEAT", "VERL_FILE_LOGGER_PATH", "VERL_PLATFORM", "VERL_USE_EXTERNAL_MODULES")


@hydra.main(config_path="config", config_name="htpo_trainer", version_base=None)
def main(config: DictConfig) -> None:
    """Preflight, then verl's training run."""
    from recipe.htpo import preflight
    from recipe.htpo.config import follow_objective

    follow_objective(config)
    if config.htpo.dry_run:
        dry_run(config)
        return
    problems = preflight.find_problems(config)
    if problems:
        preflight.print_problems(problems)
        sys.exit(preflight.EXIT_CODE)
    preflight.print_warnings(config)
    train(config)


def dry_run(config: DictConfig) -> None:
    """Show what would run. Problems of the configuration are errors; what only this machine lacks is listed."""
    from recipe.htpo import preflight
    from recipe.htpo.preflight.plan.show import print_summary

    problems = preflight.config_problems(config)
    if problems:
        preflight.print_problems(problems)
        sys.exit(preflight.EXIT_CODE)
    print_summary(config)
    preflight.print_warnings(config)
    lacking = preflight.machine_problems(config)
    print("the configuration is sound; nothing was started")
    if lacking:
        print(f"this machine lacks {len(lacking)} thing{'s' if len(lacking) > 1 else ''} that the run needs:")
        print("\n".join(f"  - {problem}" for problem in lacking))


def train(config: DictConfig) -> None:
    """Run verl's trainer on a configuration that passed the preflight, once the nodes of the cluster pass theirs."""
    if config.trainer.device == "cpu":
        from recipe.htpo import cpu

        # For the processes to come; in this one Hydra has imported verl, and with it the plugin, already.
        os.environ["VERL_PLATFORM"] = "cpu"
        cpu.activate()

    from verl.trainer.main_ppo import TaskRunnerV1, run_ppo
    from verl.utils.device import auto_set_device

    from recipe.htpo import preflight
    from recipe.htpo.preflight.nodes import JOIN_TIMEOUT_S, node_problems
    from recipe.htpo.run import checkpoints, heartbeat, lock, ray_cluster, record, stop
    from recipe.htpo.run.checked_runner import CheckedRunner

    try:
        held = lock.hold(config.htpo.output_dir)
    except lock.AlreadyRunning as error:
        print(f"htpo.output_dir: {error}; wait for it, end it, or choose another directory", file=sys.stderr)
        sys.exit(preflight.EXIT_CODE)
    stop.prepare(config.htpo.output_dir)
    os.environ[heartbeat.VARIABLE] = str(Path(config.htpo.output_dir, "heartbeat").resolve())
    auto_set_device(config)
    metrics_file = record.next_metrics_file(config.htpo.output_dir)
    os.environ["VERL_FILE_LOGGER_PATH"] = str(metrics_file.resolve())
    with open_dict(config):
        runtime_env = config.ray_kwargs.ray_init.runtime_env
        forwarded = {name: os.environ[name] for name in FORWARDED if name in os.environ}
        runtime_env.env_vars = {**(runtime_env.get("env_vars") or {}), **forwarded}
    cluster = ray_cluster.choose(config)

    def before_start() -> None:
        own = cluster is None
        problems = node_problems(config, own=own, join_timeout_s=0.0 if own else JOIN_TIMEOUT_S)
        problems = problems or checkpoints.settle(config)
        if problems:
            preflight.print_problems(problems)
            sys.exit(preflight.exit_code(problems))
        record.write_config(config.htpo.output_dir, config)

    try:
        run_ppo(config, task_runner_class=CheckedRunner(TaskRunnerV1, before_start))
    finally:
        held.close()
    if stop.was_asked(config.htpo.output_dir):
        sys.exit(stop.EXIT_CODE)


if __name__ == "__main__":
    main()

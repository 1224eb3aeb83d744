# Copyright 2026 The verl-htpo authors
# SPDX-License-Identifier: Apache-2.0
"""What a configuration amounts to, for people: a dry run and `python -m recipe.htpo.preflight` print it."""

from omegaconf import DictConfig, OmegaConf
from rich.console import Console
from rich.table import Table

from recipe.htpo.config import objective_config
from recipe.htpo.objective import CELL_NAMES, CellConfig
from recipe.htpo.preflight.plan.plan import make_plan
from recipe.htpo.preflight.plan.show import print_plan

FIELDS = (
    "htpo.layout",
    "actor_rollout_ref.model.path",
    "data.train_files",
    "data.val_files",
    "trainer.nnodes",
    "trainer.n_gpus_per_node",
    "actor_rollout_ref.actor.strategy",
    "data.train_batch_size",
    "actor_rollout_ref.rollout.n",
    "actor_rollout_ref.actor.ppo_mini_batch_size",
    "data.max_prompt_length",
    "data.max_response_length",
    "actor_rollout_ref.actor.optim.lr",
    "actor_rollout_ref.actor.clip_ratio_low",
    "actor_rollout_ref.actor.clip_ratio_high",
    "actor_rollout_ref.actor.clip_ratio_c",
    "actor_rollout_ref.actor.loss_agg_mode",
    "algorithm.filter_groups.enable",
    "actor_rollout_ref.rollout.val_kwargs.n",
    "trainer.total_training_steps",
    "htpo.output_dir",
)


def _where(cell: CellConfig) -> str:
    """Where and how strongly a rule applies, in a few words."""
    words: list[str] = [cell.region]
    words += ["where clipped"] if cell.gate == "ratio_and_sign" else []
    words += [f"x {cell.scale:g}"] if cell.scale != 1 else []
    words += [f"r >= {cell.floor:g}"] if cell.floor else []
    words += [f"r <= {cell.ceiling:g}"] if cell.ceiling is not None else []
    return ", ".join(words)


def print_summary(config: DictConfig) -> None:
    """The settings that decide a run, its table of objectives row by row, and the plan; `config` has no problems."""
    settings = Table(title="settings", show_header=False)
    settings.add_column(no_wrap=True)
    settings.add_column(overflow="fold")
    for field in FIELDS:
        value = OmegaConf.select(config, field)
        settings.add_row(field, "(not set)" if value is None else str(value))
    actor = config.actor_rollout_ref.actor
    updates = config.data.train_batch_size // actor.ppo_mini_batch_size * actor.ppo_epochs
    only = "" if updates > 1 else " (HTPO then differs from DAPO by detaching only)"
    settings.add_row("updates per step", f"{updates}{only}")
    objective = objective_config(config)
    rows = Table(title=f"objectives: {objective.preset}")
    for name in ("group", "rule", "where", "detach lowest", "detach highest"):
        rows.add_column(name)
    for group, name in enumerate(CELL_NAMES, start=1):
        cell = objective.cells[group]
        where = "" if cell.rule == "ppo" else _where(cell)
        rows.add_row(f"{group} {name}", cell.rule, where, f"{cell.detach_lowest:g}", f"{cell.detach_highest:g}")
    console = Console(width=120)
    console.print(settings)
    console.print(rows)
    print_plan(make_plan(config), console)

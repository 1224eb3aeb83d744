# Copyright 2026 The verl-htpo authors
# SPDX-License-Identifier: Apache-2.0
"""What the rows of the tables of keys are made of: names of sections, the settings that conditions and texts read."""

from collections.abc import Callable, Iterator, Sequence
from functools import cached_property
from math import ceil, inf
from typing import Any, NamedTuple

from omegaconf import DictConfig, OmegaConf

from recipe.htpo.config import objective_config
from recipe.htpo.objective import CELL_NAMES, CellConfig, ObjectiveConfig, preset_names
from recipe.htpo.objective.weights import WeightConfig
from recipe.htpo.preflight.plan.architecture import Architecture, known_architecture, known_positions
from recipe.htpo.preflight.plan.topology import Topology, find_topology
from recipe.htpo.problem import Problem

ACTOR = "actor_rollout_ref.actor"
ROLLOUT = "actor_rollout_ref.rollout"
REF = "actor_rollout_ref.ref"
MODEL = "actor_rollout_ref.model"
MEGATRON = f"{ACTOR}.megatron"
FSDP = f"{ACTOR}.fsdp_config"
TRANSFORMER = f"{MEGATRON}.override_transformer_config"
# The recipe's own reward, as a path of verl.
REWARD = "pkg://recipe.htpo.reward"
ABSENT = object()

# verl's losses that run in place of the table. `bypass_mode` needs a batch without old log-probabilities.
VERL_LOSSES = ("cispo", "clip_cov", "dppo_kl", "dppo_tv", "dro", "geo_mean", "gpg", "gspo", "kl_cov", "sapo", "vanilla")


class Settings:
    """The names that conditions and texts use."""

    def __init__(self, config: DictConfig) -> None:
        self.config = config
        self.data, self.trainer, self.reward = config.data, config.trainer, config.reward
        self.actor, self.rollout = config.actor_rollout_ref.actor, config.actor_rollout_ref.rollout
        self.model, self.megatron = config.actor_rollout_ref.model, self.actor.get("megatron")
        self.cpu = config.trainer.device == "cpu"
        # Of the row at hand.
        self.value: Any = None
        self.found: Any = None

    def __getitem__(self, name: str) -> Any:
        return getattr(self, name)

    @cached_property
    def length(self) -> int:
        """Tokens of the longest sequence."""
        return int(self.data.max_prompt_length + self.data.max_response_length)

    @cached_property
    def ahead(self) -> float:
        """Batches that an asynchronous trainer generates before its first step; also a part of one."""
        mode = str(self.trainer.v1.trainer_mode).removeprefix("htpo_")
        return self.trainer.v1.get(mode, {}).get("num_warmup_batches") or 0

    @property
    def ahead_and_refill(self) -> int:
        """Batches with that of the step and one of refills."""
        return ceil(self.ahead) + 2

    @cached_property
    def objective(self) -> ObjectiveConfig | None:
        """None where it is not valid, which `keys.check_objective` says."""
        try:
            return objective_config(self.config)
        except ValueError:
            return None

    @cached_property
    def weights(self) -> WeightConfig | None:
        """The advantage transform."""
        return None if self.objective is None else self.objective.weights

    def cells(self, wanted: Callable[[CellConfig], bool]) -> list[str]:
        """Names of the rows of the objective's table that are so."""
        if self.objective is None:
            return []
        cells = self.objective.cells
        return [name for group, name in enumerate(CELL_NAMES, start=1) if wanted(cells[group])]

    @property
    def loss(self) -> str:
        """Name of the policy loss."""
        return str(self.actor.policy_loss.loss_mode)

    @property
    def verls_loss(self) -> bool:
        """It is one of verl's, in place of the table."""
        return self.loss in VERL_LOSSES and self.objective is not None

    @property
    def made_for_loss(self) -> str:
        """The preset that goes with a loss of verl's."""
        return self.loss if self.loss in preset_names() else "dapo"

    @cached_property
    def updates(self) -> int:
        """Updates of a step."""
        return int(self.data.train_batch_size // self.actor.ppo_mini_batch_size * self.actor.ppo_epochs)

    @cached_property
    def scored(self) -> str:
        """Name of the transform for which the old policy's pass scores tokens, or nothing."""
        return self.weights.name if self.weights is not None and self.weights.score_options is not None else ""

    @cached_property
    def no_scores(self) -> str:
        return f", and no hidden states for objective.weights={self.scored}" if self.scored else ""

    @cached_property
    def topology(self) -> Topology:
        return find_topology(self.config)

    @property
    def recomputes(self) -> Any:
        """What of a layer Megatron computes again; None is nothing."""
        return self.megatron.override_transformer_config.get("recompute_granularity")

    @cached_property
    def shape(self) -> Architecture | None:
        return known_architecture(self.config)

    @cached_property
    def positions(self) -> int | None:
        return known_positions(self.config)

    @cached_property
    def schedule(self) -> float:
        """Steps of the learning-rate schedule."""
        return self.actor.optim.lr_decay_steps or self.trainer.total_training_steps or inf

    @cached_property
    def overlong(self) -> bool:
        buffer = (self.reward.get("reward_kwargs") or {}).get("overlong_buffer_cfg")
        return buffer is not None and buffer.enable


class Key(NamedTuple):
    """A row of a table of keys."""

    field: str
    wrong: Callable[[Settings], Any]
    message: str
    remedy: str


def check(config: DictConfig, keys: Sequence[Key]) -> Iterator[Problem]:
    """The rows whose condition holds."""
    settings = Settings(config)
    for key in keys:
        settings.value = OmegaConf.select(config, key.field, default=ABSENT)
        settings.found = key.wrong(settings)
        if settings.found:
            if isinstance(settings.found, list):
                settings.found = ", ".join(map(str, settings.found))
            yield Problem(key.field, key.message.format_map(settings), key.remedy.format_map(settings))

# Copyright 2026 The verl-htpo authors
# SPDX-License-Identifier: Apache-2.0
"""Hydra configuration: `compose()` gives what `python -m recipe.htpo.main_htpo` runs with."""

from collections.abc import Sequence

from hydra import compose as _compose
from hydra import initialize_config_module
from omegaconf import DictConfig, OmegaConf, open_dict

from recipe.htpo.inspect.dump import DumpConfig
from recipe.htpo.objective import ObjectiveConfig


def compose(overrides: Sequence[str] = (), config_name: str = "htpo_trainer") -> DictConfig:
    """Compose a configuration as the command line would; unknown keys and groups are Hydra's errors."""
    with initialize_config_module(__name__, version_base=None):
        config = _compose(config_name, overrides=list(overrides))
    follow_objective(config)
    return config


def follow_objective(config: DictConfig) -> None:
    """Set what an objective that splits tokens by the current policy's entropy needs of the actor, in place.

    The update then computes the entropy. FSDP checkpoints it: otherwise it keeps a second buffer of vocabulary size.
    """
    if config.objective.entropy_source != "current":
        return
    actor = config.actor_rollout_ref.actor
    with open_dict(config):
        actor.calculate_entropy = True
        if actor.strategy in ("fsdp", "fsdp2"):
            actor.entropy_checkpointing = actor.fsdp_config.entropy_checkpointing = True
        else:
            # verl 0.9.1 cannot differentiate Megatron's entropy in chunks.
            actor.entropy_from_logits_with_chunking = False


def objective_config(config: DictConfig) -> ObjectiveConfig:
    """The validated objective of a composed configuration; ValueError names the field and the valid values."""
    mapping = OmegaConf.to_container(config.objective, resolve=True)
    assert isinstance(mapping, dict)
    return ObjectiveConfig.from_mapping({str(key): value for key, value in mapping.items()})


def dump_config(config: DictConfig) -> DumpConfig:
    """The validated `htpo.dump_tokens` of a composed configuration; ValueError names the field and the valid values."""
    return DumpConfig.from_mapping(OmegaConf.to_container(config.htpo.dump_tokens, resolve=True))

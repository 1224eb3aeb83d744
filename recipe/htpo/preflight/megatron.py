# Copyright 2026 The verl-htpo authors
# SPDX-License-Identifier: Apache-2.0
"""What only Megatron refuses or gets wrong, on any device."""

from collections.abc import Iterator
from dataclasses import fields
from difflib import get_close_matches

from omegaconf import DictConfig

from recipe.htpo.preflight.problem import Problem

ACTOR = "actor_rollout_ref.actor"
MEGATRON = f"{ACTOR}.megatron"
# verl's default, and megatron-core's.
ADAM_BETAS = [0.9, 0.999]


def check_megatron(config: DictConfig) -> Iterator[Problem]:
    """Settings with which verl's Megatron engine fails after minutes: at start, at the first export or update."""
    actor = config.actor_rollout_ref.actor
    if actor.strategy != "megatron":
        return
    engine = actor.megatron
    if not engine.use_distributed_optimizer:
        yield Problem(
            f"{MEGATRON}.use_distributed_optimizer",
            "is False; verl 0.9.1 then fails when it exports the weights to vLLM",
            "set it to True",
        )
    if not engine.use_mbridge:
        yield Problem(
            f"{MEGATRON}.use_mbridge", "is False; verl 0.9.1 has no other way to load weights", "set it to True"
        )
    computes_entropy = actor.calculate_entropy or actor.entropy_coeff
    if computes_entropy and engine.entropy_from_logits_with_chunking:
        yield Problem(
            f"{ACTOR}.entropy_from_logits_with_chunking",
            "is True, but verl 0.9.1 cannot differentiate the entropy in chunks under Megatron, and the update "
            "computes it (calculate_entropy or entropy_coeff)",
            "set it to False",
        )
    if engine.use_dist_checkpointing and engine.dist_checkpointing_path is None:
        yield Problem(
            f"{MEGATRON}.dist_checkpointing_path",
            "has no value, but use_dist_checkpointing=True loads the first weights from there",
            "set it, or use_dist_checkpointing=False",
        )
    if not actor.optim.use_checkpoint_opt_param_scheduler:
        yield Problem(
            f"{ACTOR}.optim.use_checkpoint_opt_param_scheduler",
            "is False; a resumed run would begin its learning-rate schedule anew",
            "set it to True",
        )
    if list(actor.optim.betas) != ADAM_BETAS:
        yield Problem(
            f"{ACTOR}.optim.betas",
            f"is {list(actor.optim.betas)}, which verl 0.9.1 does not hand to megatron-core",
            f"leave it at {ADAM_BETAS}, and set +{ACTOR}.optim.override_optimizer_config.adam_beta1 and adam_beta2",
        )
    decay_steps = actor.optim.lr_decay_steps or config.trainer.total_training_steps
    if decay_steps is not None and actor.optim.lr_warmup_steps >= decay_steps:
        yield Problem(
            f"{ACTOR}.optim.lr_warmup_steps",
            f"is {actor.optim.lr_warmup_steps}, and the schedule has {decay_steps} steps "
            "(optim.lr_decay_steps, or trainer.total_training_steps); megatron-core needs more steps than warm-up",
            "lower it, or train longer",
        )
    recompute = engine.override_transformer_config
    if recompute.get("recompute_granularity") == "full":
        for name in ("recompute_method", "recompute_num_layers"):
            if recompute.get(name) is None:
                yield Problem(
                    f"{MEGATRON}.override_transformer_config.{name}",
                    "has no value, but recompute_granularity=full needs it",
                    "set recompute_method=uniform and recompute_num_layers=1",
                )


def check_transformer_keys(config: DictConfig) -> Iterator[Problem]:
    """Keys of `override_transformer_config` are fields of the model's configuration; Megatron-Bridge sets any name."""
    if config.actor_rollout_ref.actor.strategy != "megatron":
        return
    known = _transformer_fields()
    for key in sorted(config.actor_rollout_ref.actor.megatron.override_transformer_config):
        if known and key not in known:
            alike = get_close_matches(key, known, n=1)
            yield Problem(
                f"{MEGATRON}.override_transformer_config.{key}",
                "is no field of megatron-core's TransformerConfig, as installed here",
                f"did you mean {alike[0]}?" if alike else "correct the name or leave it out",
            )


def _transformer_fields() -> set[str]:
    """Field names, with those of Megatron-Bridge's GPT model where it is installed; none without megatron-core."""
    try:
        from megatron.core.transformer.transformer_config import MLATransformerConfig
    except ImportError:
        return set()
    # The only field beyond megatron-core's that verl itself overrides.
    names = {field.name for field in fields(MLATransformerConfig)} | {"share_embeddings_and_output_weights"}
    try:
        from megatron.bridge.models.gpt_provider import GPTModelProvider
    except ImportError:
        return names
    return names | {field.name for field in fields(GPTModelProvider)}

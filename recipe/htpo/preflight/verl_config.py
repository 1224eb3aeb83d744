# Copyright 2026 The verl-htpo authors
# SPDX-License-Identifier: Apache-2.0
"""verl itself accepts the configuration, before Ray runs: one engine, verl's dataclasses, its own validation."""

import io
import traceback
import warnings
from collections.abc import Iterator
from contextlib import redirect_stdout
from copy import deepcopy
from dataclasses import fields
from difflib import get_close_matches

from omegaconf import DictConfig, OmegaConf, open_dict

from recipe.htpo.preflight.plan.topology import has_reference
from recipe.htpo.preflight.settings import ACTOR, MODEL, TRANSFORMER
from recipe.htpo.problem import Problem

# verl's `model_engine` group -> the strategies that its actor configuration is for.
STRATEGIES = {"dp": ("fsdp2", "fsdp"), "megatron": ("megatron",)}
# First part of a layout's name -> the `model_engine` that it is written for.
LAYOUT_ENGINES = {"fsdp": "dp", "megatron": "megatron"}
# A node that the actor of the other engine has.
FOREIGN = {"dp": "megatron", "megatron": "fsdp_config"}
CPU_PLATFORMS = {"dp": "cpu", "megatron": "cpu_megatron"}

# Nodes that verl makes dataclasses of in its workers.
NODES = ("algorithm", ACTOR, "actor_rollout_ref.ref", "actor_rollout_ref.rollout")
# verl/workers/engine_workers.py, init_model, renames these in `ref`.
REF_NAMES = {
    "log_prob_micro_batch_size": "ppo_micro_batch_size",
    "log_prob_micro_batch_size_per_gpu": "ppo_micro_batch_size_per_gpu",
    "log_prob_use_dynamic_bsz": "use_dynamic_bsz",
    "log_prob_max_token_len_per_gpu": "ppo_max_token_len_per_gpu",
}


def check_engine(config: DictConfig) -> Iterator[Problem]:
    """`model_engine` decides which fields there are; the layout and the strategies must be of the same engine."""
    engine, layout, actor = config.model_engine, config.htpo.layout, config.actor_rollout_ref.actor
    if engine not in STRATEGIES:
        yield Problem("model_engine", f"is {engine}, which HTPO was not run with", "use dp (FSDP) or megatron")
    elif layout is not None and (wanted := LAYOUT_ENGINES[layout.split("/")[0]]) != engine:
        fitting = next(name for name, of in LAYOUT_ENGINES.items() if of == engine)
        yield Problem(
            "layout",
            f"is {layout}, but model_engine={engine}",
            f"add model_engine={wanted}, or choose layout={fitting}/...",
        )
    elif (foreign := FOREIGN[engine]) in actor:
        on_cpu = config.trainer.device == "cpu"
        remedy = f"choose platform={CPU_PLATFORMS[engine]} with it" if on_cpu else "choose the other model_engine"
        yield Problem("model_engine", f"is {engine}, but {ACTOR}.{foreign} is set, which it has not", remedy)
    else:
        for role in ("actor", "ref"):
            strategy = config.actor_rollout_ref[role].strategy
            if strategy not in STRATEGIES[engine]:
                others = [name for name, strategies in STRATEGIES.items() if strategy in strategies]
                remedy = f"use {' or '.join(STRATEGIES[engine])}"
                remedy += f", or change the engine with model_engine={others[0]}" if others else ""
                yield Problem(f"actor_rollout_ref.{role}.strategy", f"is {strategy}, but model_engine={engine}", remedy)
                return


def check_dataclasses(config: DictConfig) -> Iterator[Problem]:
    """verl's dataclasses can be made; unknown keys, which `+` lets past Hydra, and wrong values are errors there."""
    from hydra.errors import InstantiationException
    from verl.utils.config import omega_conf_to_dataclass
    from verl.workers.config import HFModelConfig

    composed = _as_the_workers_see_it(config)
    for name in NODES:
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                omega_conf_to_dataclass(OmegaConf.select(composed, name))
        except InstantiationException as error:
            yield _problem(name, error)
    # This dataclass would load the model's configuration and tokenizer.
    known = {field.name for field in fields(HFModelConfig)} | {"_target_"}
    for key in sorted(set(config.actor_rollout_ref.model) - known):
        yield Problem(f"{MODEL}.{key}", "is no field of verl's HFModelConfig", "correct the name or leave it out")


def check_transformer_keys(config: DictConfig) -> Iterator[Problem]:
    """Keys of `override_transformer_config` are fields of the model's configuration; Megatron-Bridge sets any name."""
    if config.actor_rollout_ref.actor.strategy != "megatron":
        return
    known = _transformer_fields()
    for key in sorted(config.actor_rollout_ref.actor.megatron.override_transformer_config):
        if known and key not in known:
            alike = get_close_matches(key, known, n=1)
            yield Problem(
                f"{TRANSFORMER}.{key}",
                "is no field of megatron-core's TransformerConfig, as installed here",
                f"did you mean {alike[0]}?" if alike else "correct the name or leave it out",
            )


def check_verls_validation(config: DictConfig) -> Iterator[Problem]:
    """verl's own `validate_config`, which stops at the first error: only worth while when nothing else is wrong."""
    from verl.trainer.ppo.utils import need_critic, need_reference_policy
    from verl.utils.config import validate_config

    composed = _as_the_workers_see_it(config)
    try:
        with warnings.catch_warnings(), redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            validate_config(composed, need_reference_policy(composed), need_critic(composed))
    except (AssertionError, ValueError, TypeError, NotImplementedError) as error:
        yield Problem("configuration", f"verl refuses it: {_reason(error)}", "correct the fields that verl names")


def _as_the_workers_see_it(config: DictConfig) -> DictConfig:
    """A copy with what verl's worker changes before it makes dataclasses, and what the CPU platform allows."""
    composed: DictConfig = deepcopy(config)
    with open_dict(composed):
        actor, reference = composed.actor_rollout_ref.actor, composed.actor_rollout_ref.ref
        if actor.ppo_micro_batch_size_per_gpu is None:
            # That it is missing is `sizes.check_micro_batches`' to say.
            actor.ppo_micro_batch_size_per_gpu = 1
        reference.ppo_mini_batch_size = actor.ppo_mini_batch_size
        for old, new in REF_NAMES.items():
            reference[new] = reference.pop(old)
        if not has_reference(composed):
            # No reference policy is built: its micro-batches need no size.
            reference.use_dynamic_bsz = True
        for role in (actor, reference):
            if composed.trainer.device == "cpu" and "megatron" in role:
                # The platform lifts verl's limit to 16 bits; the table of keys has looked at the type.
                role.megatron.dtype = "bfloat16"
    return composed


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


def _problem(name: str, error: Exception) -> Problem:
    cause = error.__cause__ or error
    *_, last = str(error).splitlines()
    field = last.removeprefix("full_key: ") if last.startswith("full_key: ") else name
    reason = _reason(cause)
    unknown = reason.partition("unexpected keyword argument ")[2].strip("'\"")
    if unknown:
        return Problem(f"{field}.{unknown}", "is no field of verl 0.9.1", "correct the name or leave it out")
    return Problem(field, f"verl refuses it: {reason}", "correct the field that verl names")


def _reason(error: BaseException) -> str:
    """The message; a bare assertion is told by its line."""
    return str(error) or traceback.extract_tb(error.__traceback__)[-1].line or type(error).__name__

# Copyright 2026 The verl-htpo authors
# SPDX-License-Identifier: Apache-2.0
"""verl itself accepts the configuration: its dataclasses and its own validation, run before Ray is."""

import io
import traceback
import warnings
from collections.abc import Iterator
from contextlib import redirect_stdout
from copy import deepcopy
from dataclasses import fields

from omegaconf import DictConfig, OmegaConf, open_dict

from recipe.htpo.preflight.problem import Problem

# Nodes that verl makes dataclasses of in its workers.
NODES = (
    "algorithm",
    "actor_rollout_ref.actor",
    "actor_rollout_ref.ref",
    "actor_rollout_ref.rollout",
)
MODEL = "actor_rollout_ref.model"


def check_dataclasses(config: DictConfig) -> Iterator[Problem]:
    """verl's dataclasses can be made; unknown keys, which `+` lets past Hydra, and wrong values are errors there."""
    from hydra.errors import InstantiationException
    from verl.utils.config import omega_conf_to_dataclass

    composed = _as_the_workers_see_it(config)
    for name in NODES:
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                omega_conf_to_dataclass(OmegaConf.select(composed, name))
        except InstantiationException as error:
            yield _problem(name, error)
    yield from _unknown_model_keys(config)


def check_verls_validation(config: DictConfig) -> Iterator[Problem]:
    """verl's own `validate_config`; only worth while when nothing else is wrong."""
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
            # That it is missing is `micro_batches`' to say.
            actor.ppo_micro_batch_size_per_gpu = 1
        # verl/workers/engine_workers.py, init_model
        reference.ppo_mini_batch_size = actor.ppo_mini_batch_size
        for old, new in (
            ("log_prob_micro_batch_size", "ppo_micro_batch_size"),
            ("log_prob_micro_batch_size_per_gpu", "ppo_micro_batch_size_per_gpu"),
            ("log_prob_use_dynamic_bsz", "use_dynamic_bsz"),
            ("log_prob_max_token_len_per_gpu", "ppo_max_token_len_per_gpu"),
        ):
            reference[new] = reference.pop(old)
        if not (actor.use_kl_loss or composed.algorithm.use_kl_in_reward):
            # No reference policy is built: its micro-batches need no size.
            reference.use_dynamic_bsz = True
        if composed.trainer.device == "cpu":
            for role in (actor, reference):
                if "megatron" in role:
                    # The platform lifts verl's limit to 16 bits; `precision.check_cpu` has looked at the type.
                    role.megatron.dtype = "bfloat16"
    return composed


def _unknown_model_keys(config: DictConfig) -> Iterator[Problem]:
    # The dataclass itself would load the model's configuration and tokenizer.
    from verl.workers.config import HFModelConfig

    known = {field.name for field in fields(HFModelConfig)} | {"_target_"}
    for key in sorted(set(config.actor_rollout_ref.model) - known):
        yield Problem(f"{MODEL}.{key}", "is no field of verl's HFModelConfig", "correct the name or leave it out")


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

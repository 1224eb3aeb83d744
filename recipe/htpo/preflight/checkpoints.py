# Copyright 2026 The verl-htpo authors
# SPDX-License-Identifier: Apache-2.0
"""Checkpoints: what is written, where a run resumes from, and room for them."""

import shutil
from collections.abc import Iterator
from pathlib import Path

from omegaconf import DictConfig

from recipe.htpo.preflight.plan.plan import checkpoint_estimate
from recipe.htpo.preflight.problem import Problem

CONTENTS = ("model", "optimizer", "extra", "hf_model")
RESUME_MODES = ("auto", "disable", "resume_path")
SAVE_CONTENTS = "actor_rollout_ref.actor.checkpoint.save_contents"
GB = 10**9


def check_checkpoints(config: DictConfig) -> Iterator[Problem]:
    """Names that verl would pass over in silence, and a resume path that it would fail on after the start."""
    unknown = [name for name in config.actor_rollout_ref.actor.checkpoint.save_contents if name not in CONTENTS]
    if unknown:
        yield Problem(SAVE_CONTENTS, f"has {', '.join(unknown)}", f"choose from {', '.join(CONTENTS)}")
    if config.trainer.max_actor_ckpt_to_keep == 1:
        yield Problem(
            "trainer.max_actor_ckpt_to_keep",
            "is 1; verl removes the old checkpoint before the new one is whole, so a run killed there has none",
            "keep at least 2, or null for all",
        )
    mode, path = config.trainer.resume_mode, config.trainer.resume_from_path
    if mode not in RESUME_MODES:
        yield Problem("trainer.resume_mode", f"is {mode}", f"use one of {', '.join(RESUME_MODES)}")
    elif mode == "resume_path" and (path is None or "global_step_" not in str(path)):
        yield Problem(
            "trainer.resume_from_path",
            f"is {path}; trainer.resume_mode=resume_path needs a global_step_N directory",
            "set it, or trainer.resume_mode=auto",
        )


def check_disk(config: DictConfig) -> Iterator[Problem]:
    """Room for the checkpoints that are kept and the one that is being written, less those that are there."""
    if config.trainer.save_freq <= 0:
        return
    size = checkpoint_estimate(config)
    if size is None:
        return
    path = Path(config.trainer.default_local_dir).absolute()
    existing = next(parent for parent in (path, *path.parents) if parent.exists())
    free = shutil.disk_usage(existing).free
    kept = config.trainer.max_actor_ckpt_to_keep or 1
    count = kept + 1 - min(len(list(path.glob("global_step_*"))), kept)
    if free < size * count:
        yield Problem(
            "trainer.default_local_dir",
            f"{existing} has {free / GB:,.4g} GB free, {count} more checkpoint{'s' if count > 1 else ''} of "
            f"{size / GB:,.4g} GB need {size * count / GB:,.4g}",
            "choose a larger file system, or lower trainer.max_actor_ckpt_to_keep",
        )

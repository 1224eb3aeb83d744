# Copyright 2026 The verl-htpo authors
# SPDX-License-Identifier: Apache-2.0
"""The files of a run: its configuration, and one metrics file per start.

A run is its output directory. Starting again in the same directory continues the run, so the configuration must be
the same; only what cannot change the result of a step may differ.
"""

import os
from pathlib import Path
from typing import Any

import yaml
from omegaconf import DictConfig, OmegaConf

from recipe.htpo.dotted import flat

CONFIG_FILE = "config.yaml"
METRICS_DIR = "metrics"

# May differ between two starts of one run: how long (where no schedule goes by it), how often, where to look.
FREE_FIELDS = (
    "htpo.dry_run",
    "htpo.check_versions",
    "htpo.gpu_memory_gib",
    "htpo.layout",
    "htpo.max_failed_rollouts",
    "htpo.watchdog_timeout_s",
    "htpo.deadline_margin_s",
    "htpo.replay_poll_interval_s",
    "htpo.dump_tokens",
    "trainer.total_training_steps",
    "trainer.total_epochs",
    "trainer.save_freq",
    "trainer.test_freq",
    "trainer.logger",
    "trainer.val_before_train",
    "trainer.log_val_generations",
    "trainer.max_actor_ckpt_to_keep",
    "trainer.max_critic_ckpt_to_keep",
    "trainer.resume_mode",
    "trainer.resume_from_path",
    "trainer.rollout_data_dir",
    "trainer.validation_data_dir",
    "ray_kwargs",
    "global_profiler",
)


def changed_fields(output_dir: str | Path, config: DictConfig) -> list[str]:
    """`field: recorded -> asked for` of every field in which `config` differs from the run recorded in `output_dir`."""
    recorded = recorded_fields(output_dir)
    if not recorded:
        return []
    asked = flat(OmegaConf.to_container(config, resolve=True))
    scheduled = schedule_fields(config)
    return [
        f"{name}: {recorded.get(name, '(absent)')} -> {asked.get(name, '(absent)')}{scheduled.get(name, '')}"
        for name in sorted(recorded.keys() | asked.keys())
        if recorded.get(name, "(absent)") != asked.get(name, "(absent)") and (name in scheduled or not _is_free(name))
    ]


def schedule_fields(config: DictConfig) -> dict[str, str]:
    """The fields of a run's length where the learning rate of a step depends on it, with a remark.

    verl makes the schedule anew for the new length under FSDP (verl/workers/engine/fsdp/transformer_impl.py,
    `_build_lr_scheduler`), so the rate jumps; Megatron's keeps the old end, so the rate is its last from there on.
    """
    actor = config.actor_rollout_ref.actor
    optim = actor.optim
    goes_by_length = (optim.lr_warmup_steps or 0) <= 0 < (optim.lr_warmup_steps_ratio or 0)
    if actor.strategy == "megatron":
        goes_by_length = optim.lr_decay_steps is None and (goes_by_length or optim.lr_decay_style != "constant")
    else:
        goes_by_length = goes_by_length or optim.lr_scheduler_type != "constant"
    if not goes_by_length:
        return {}
    remark = " (the learning rate's schedule goes by it)"
    fields = ["trainer.total_training_steps"]
    if config.trainer.total_training_steps is None:
        fields.append("trainer.total_epochs")
    return dict.fromkeys(fields, remark)


def recorded_fields(output_dir: str | Path) -> dict[str, Any]:
    """The fields of the run recorded in `output_dir`, by dotted name; none where there is no run or its record is
    damaged, which is said."""
    path = Path(output_dir) / CONFIG_FILE
    if not path.exists():
        return {}
    try:
        recorded = flat(yaml.safe_load(path.read_text(encoding="utf-8", errors="replace")) or {})
    except yaml.YAMLError as error:
        print(f"passing over {path}, which is damaged ({str(error).splitlines()[0]}); it is written anew", flush=True)
        return {}
    if not recorded or "" in recorded:
        print(f"passing over {path}, which is damaged (no configuration in it); it is written anew", flush=True)
        return {}
    return recorded


def write_atomic(path: Path, content: bytes) -> None:
    """The whole file or none: a reader, or a start after a kill or a power cut, never sees half of it.

    Raises:
        OSError: the file could not be written; the old one, if there was one, is untouched.
    """
    temporary = path.with_name(f"{path.name}.tmp")
    try:
        with temporary.open("wb") as stream:
            stream.write(content)
            stream.flush()
            # Its bytes before its name: otherwise the name may outlive a power cut alone.
            os.fsync(stream.fileno())
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    directory = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)


def write_config(output_dir: str | Path, config: DictConfig) -> None:
    """Record the resolved configuration of the run (atomic)."""
    path = Path(output_dir) / CONFIG_FILE
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomic(path, OmegaConf.to_yaml(config, resolve=True).encode())


def next_metrics_file(output_dir: str | Path) -> Path:
    """A file of its own for this start: verl's file logger truncates the file it opens (verl/utils/tracking.py:541)."""
    directory = Path(output_dir) / METRICS_DIR
    directory.mkdir(parents=True, exist_ok=True)
    number = max((int(path.stem) + 1 for path in directory.glob("*.jsonl") if path.stem.isdecimal()), default=0)
    return directory / f"{number:04d}.jsonl"


def _is_free(name: str) -> bool:
    # Every role has a `profiler` node of its own that follows global_profiler.
    return ".profiler." in name or any(name == field or name.startswith(f"{field}.") for field in FREE_FIELDS)

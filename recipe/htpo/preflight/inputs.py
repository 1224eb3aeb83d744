# Copyright 2026 The verl-htpo authors
# SPDX-License-Identifier: Apache-2.0
"""The model and the data can be read, and fit the settings."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, ListConfig, OmegaConf

from recipe.htpo.preflight.problem import Problem

MODEL = "actor_rollout_ref.model.path"


def check_model_and_data(config: DictConfig) -> Iterator[Problem]:
    """Model directory, tokenizer with chat template, parquet files; prompt lengths are counted with that tokenizer."""
    tokenizer = None
    if OmegaConf.select(config, MODEL) is not None:
        problems, tokenizer = _model(config)
        yield from problems
    for field in ("train_files", "val_files"):
        if OmegaConf.select(config, f"data.{field}") is not None:
            yield from _data(config, field, tokenizer)


def _model(config: DictConfig) -> tuple[list[Problem], Any]:
    from transformers import AutoConfig, AutoTokenizer

    path = str(config.actor_rollout_ref.model.path)
    local = Path(path).expanduser()
    if path.startswith(("/", ".", "~")) and not local.is_dir():
        return [Problem(MODEL, f"no such directory: {path}", "give a Hugging Face model directory or name")], None
    source = str(local) if local.is_dir() else path
    # A dry run shows what is there and fetches nothing.
    options = {"local_files_only": config.htpo.dry_run}
    try:
        AutoConfig.from_pretrained(source, **options)
        tokenizer = AutoTokenizer.from_pretrained(source, **options)
    except (OSError, ValueError) as error:
        reason = str(error).strip().splitlines()[0]
        return [
            Problem(MODEL, f"{path} cannot be loaded: {reason}", "give a directory with config.json and a tokenizer")
        ], None
    problems = []
    if tokenizer.chat_template is None and config.actor_rollout_ref.model.get("custom_chat_template") is None:
        problems.append(
            Problem(
                MODEL,
                f"the tokenizer of {path} has no chat template",
                "set actor_rollout_ref.model.custom_chat_template, or use a model whose tokenizer has one",
            )
        )
    return problems, tokenizer


def _data(config: DictConfig, field: str, tokenizer: Any) -> Iterator[Problem]:
    from data_prep.check import check_files

    files = config.data[field]
    paths = [str(path) for path in files] if isinstance(files, list | ListConfig) else [str(files)]
    # verl drops overlong training prompts itself where it is told to.
    counts_prompts = (
        tokenizer is not None and not config.data.filter_overlong_prompts and config.data.truncation == "error"
    )
    found = check_files(
        paths,
        tokenizer=tokenizer if counts_prompts else None,
        max_prompt_length=config.data.max_prompt_length if counts_prompts else None,
    )
    for problem in found:
        yield Problem(f"data.{field}", problem.message, problem.remedy)
    if not found and field == "train_files":
        import pyarrow.parquet as pq

        rows = sum(pq.read_metadata(path).num_rows for path in paths)
        if rows < config.data.train_batch_size:
            yield Problem(
                "data.train_batch_size",
                f"is {config.data.train_batch_size}, but data.train_files has {rows} prompts",
                "lower it or build more data",
            )

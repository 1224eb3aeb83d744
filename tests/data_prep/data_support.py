# Copyright 2026 The verl-htpo authors
# SPDX-License-Identifier: Apache-2.0
"""Records and tables that several data_prep tests use."""

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from data_prep.operations.build import BuildOptions, build_split
from data_prep.sources.dataset import DataSet
from data_prep.sources.templates import TEMPLATES


def sum_records(count: int) -> list[dict]:
    return [
        {"problem": f"What is the sum of {i} and {i + 1}?", "answer": 2 * i + 1, "level": i % 3} for i in range(count)
    ]


def dapo_table(count: int, copies: int = 1) -> pa.Table:
    """Rows of the original DAPO form, each ``copies`` times."""
    rows = [
        {
            "data_source": "math_dapo",
            "prompt": TEMPLATES["dapo"].messages(f"Problem {i} asks for {i} squared."),
            "ability": "MATH",
            "reward_model": {"ground_truth": str(i * i), "style": "rule-lighteval/MATH_v2"},
            "extra_info": {"index": f"uuid-{i}"},
        }
        for i in range(count)
    ]
    return pa.Table.from_pylist(rows * copies)


def write_contract(path: Path, problems: list[str], answers: list[str] | None = None, name: str = "set") -> Path:
    """A file of the contract with these problems, made by `build`."""
    source = path.with_name(path.name + ".source.jsonl")
    source.parent.mkdir(parents=True, exist_ok=True)
    answers = answers or [str(i) for i in range(len(problems))]
    records = [
        {"problem": problem, "answer": answer, "level": i % 3}
        for i, (problem, answer) in enumerate(zip(problems, answers, strict=True))
    ]
    source.write_text("".join(json.dumps(record) + "\n" for record in records), encoding="utf-8")
    data_set = DataSet(name=name, title=name, answer_rule="verbatim", dedup="none")
    build_split(data_set, "train", path, BuildOptions(source=str(source), template="bare"))
    return path


def read(path: Path) -> list[dict]:
    """All rows."""
    return pq.read_table(path).to_pylist()


def problems_of(path: Path) -> list[str]:
    """The problems of all rows."""
    return [row["extra_info"]["problem"] for row in read(path)]


def write_copies(table: pa.Table, path: Path, copies: int, layout: str, row_group_size: int) -> None:
    """Each row ``copies`` times: ``tiled`` (the table again and again), ``adjacent`` or ``shuffled``."""
    order = np.tile(np.arange(len(table)), copies)
    if layout == "adjacent":
        order = np.sort(order)
    elif layout == "shuffled":
        np.random.default_rng(0).shuffle(order)
    pq.write_table(table.take(order), path, row_group_size=row_group_size)


def rlhf_dataset(paths: list[Path], tokenizer_folder: Path, cache: Path, max_prompt_length: int = 2048):
    """verl's data set of a list of files, and its tokenizer; skips where verl is missing."""
    pytest.importorskip("verl.utils.dataset.rl_dataset")
    from omegaconf import OmegaConf
    from transformers import AutoTokenizer
    from verl.utils.dataset.rl_dataset import RLHFDataset

    config = OmegaConf.create(
        {
            "cache_dir": str(cache),
            "max_prompt_length": max_prompt_length,
            "filter_overlong_prompts": True,
            "filter_overlong_prompts_workers": 1,
        }
    )
    tokenizer = AutoTokenizer.from_pretrained(tokenizer_folder)
    return RLHFDataset([str(path) for path in paths], tokenizer, config), tokenizer

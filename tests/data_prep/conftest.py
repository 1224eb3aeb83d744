# Copyright 2026 The verl-htpo authors
# SPDX-License-Identifier: Apache-2.0
"""Fixtures: small data files of our own making, a local tokenizer, and the real files where they are at hand."""

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest
from data_support import write_contract

from data_prep.sources.dataset import DataSet

REPOSITORY = Path(__file__).parents[2]
CHAT_TEMPLATE = (
    "{% for message in messages %}<|{{ message.role }}|> {{ message.content }} <|end|> {% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)


@pytest.fixture(scope="session")
def real_data() -> Path:
    folder = Path(os.environ.get("HTPO_DATA_DIR", REPOSITORY.parent / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip("needs the real data files: set HTPO_DATA_DIR")
    return folder


@pytest.fixture(scope="session")
def tokenizer_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A word-level tokenizer with a chat template, as a folder that AutoTokenizer loads."""
    from tokenizers import Tokenizer, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.WordLevel(unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    special = ["<unk>", "<|user|>", "<|assistant|>", "<|system|>", "<|end|>"]
    tokenizer.train_from_iterator(
        ["what is the sum of two and three"], trainers.WordLevelTrainer(special_tokens=special)
    )
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, unk_token="<unk>", eos_token="<|end|>", pad_token="<|end|>"
    )
    fast.add_special_tokens({"additional_special_tokens": special[1:4]})
    fast.chat_template = CHAT_TEMPLATE
    folder = tmp_path_factory.mktemp("tokenizer")
    fast.save_pretrained(folder)
    return folder


@pytest.fixture
def write_jsonl(tmp_path: Path) -> Callable[..., Path]:
    def write(records: list[dict], name: str = "source.jsonl") -> Path:
        path = tmp_path / name
        path.write_text("".join(json.dumps(record) + "\n" for record in records), encoding="utf-8")
        return path

    return write


@pytest.fixture
def sums() -> DataSet:
    """A set with the usual column names."""
    return DataSet(name="sums", title="sums", answer_rule="integer")


@pytest.fixture
def parts(tmp_path: Path) -> list[Path]:
    """Two files of the contract: 50 rows of the set ``a``, 30 of ``b``."""
    return [
        write_contract(tmp_path / f"{name}.parquet", [f"{name} {i}" for i in range(size)], name=name)
        for name, size in (("a", 50), ("b", 30))
    ]

# Copyright 2026 The verl-htpo authors
# SPDX-License-Identifier: Apache-2.0
"""Prompts to evaluate, out of parquet files as verl reads them."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from transformers import PreTrainedTokenizerBase

from recipe.htpo.evaluation.settings import EvalSettings, SettingsError
from recipe.htpo.reward import problem_text

COLUMNS = ("data_source", "prompt", "reward_model")


@dataclass(frozen=True)
class Prompt:
    """One prompt; rows with the same source and the same messages are one."""

    data_source: str
    id: str
    """`extra_info.id`, or a digest of source and messages where the file has none."""
    index: int | None
    """`extra_info.index`."""
    problem: str
    """The problem without its template, or empty."""
    messages: tuple[Mapping[str, str], ...]
    ground_truth: Any
    """Text, or a list of texts."""
    extra_info: Mapping[str, Any]

    @property
    def digest(self) -> bytes:
        """Names the prompt in any file."""
        text = json.dumps([self.data_source, *map(dict, self.messages)], sort_keys=True)
        return hashlib.blake2b(text.encode(), digest_size=8).digest()

    def seed(self, seed: int) -> int:
        """Of vLLM's generator for the first sample; the i-th one has this plus i."""
        text = self.digest + seed.to_bytes(8, "big", signed=True)
        return int.from_bytes(hashlib.blake2b(text, digest_size=4).digest(), "big")


def read_prompts(settings: EvalSettings) -> list[Prompt]:
    """Distinct prompts of all files in their order; raises SettingsError for a file that verl could not read either."""
    found: dict[bytes, Prompt] = {}
    for name in settings.data:
        of_file: dict[bytes, Prompt] = {}
        for row in _rows(Path(name)):
            prompt = _prompt(row, name)
            of_file.setdefault(prompt.digest, prompt)
            if settings.prompts is not None and len(of_file) == settings.prompts:
                break
        found |= {digest: prompt for digest, prompt in of_file.items() if digest not in found}
    names = {(prompt.data_source, prompt.id) for prompt in found.values()}
    if len(names) < len(found):
        raise SettingsError("data", "two different prompts of a source have one extra_info.id", "see `data_prep check`")
    return list(found.values())


def _rows(path: Path) -> list[dict[str, Any]]:
    if not path.is_file():
        raise SettingsError(
            "data", f"no such file: {path}", "name a parquet file; `python -m data_prep build` makes one"
        )
    try:
        table = pq.read_table(path)
    except pa.ArrowException as error:
        raise SettingsError("data", f"{path} is no parquet file: {error}", "fetch or build it again") from error
    if missing := [column for column in COLUMNS if column not in table.column_names]:
        raise SettingsError(
            "data", f"{path} has no column {', '.join(missing)}", "bring it into verl's form with `data_prep convert`"
        )
    if not len(table):
        raise SettingsError("data", f"{path} has no rows", "build it again")
    columns = [*COLUMNS, *(["extra_info"] if "extra_info" in table.column_names else [])]
    return table.select(columns).to_pylist()


def _prompt(row: Mapping[str, Any], name: str) -> Prompt:
    extra = row.get("extra_info") or {}
    messages = row["prompt"]
    truth = (row["reward_model"] or {}).get("ground_truth")
    if not isinstance(messages, list) or not messages or not all(isinstance(m, Mapping) for m in messages):
        raise SettingsError("data", f"a prompt of {name} is no list of messages", "see `data_prep convert`")
    if truth is None:
        raise SettingsError("data", f"a row of {name} has no reward_model.ground_truth", "see `data_prep convert`")
    index = extra.get("index")
    prompt = Prompt(
        data_source=str(row["data_source"]),
        id=str(extra.get("id") or ""),
        index=index if isinstance(index, int) else None,
        problem=problem_text(extra),
        messages=tuple(messages),
        ground_truth=truth if isinstance(truth, list) else str(truth),
        extra_info=extra,
    )
    return prompt if prompt.id else _with_id(prompt)


def _with_id(prompt: Prompt) -> Prompt:
    return Prompt(**{**vars(prompt), "id": prompt.digest.hex()})


def token_ids(prompts: list[Prompt], tokenizer: PreTrainedTokenizerBase, settings: EvalSettings) -> list[list[int]]:
    """Tokens of each prompt, by the model's chat template; raises SettingsError where there is none."""
    template = None
    if settings.chat_template:
        path = Path(settings.chat_template)
        if not path.is_file():
            raise SettingsError("chat_template", f"no such file: {path}", "give a Jinja file")
        template = path.read_text(encoding="utf-8")
    elif not tokenizer.chat_template:
        raise SettingsError("chat_template", "the model's tokenizer has none", "give one: chat_template=FILE.jinja")
    rendered: Any = [
        tokenizer.apply_chat_template(
            [dict(message) for message in prompt.messages],
            chat_template=template,
            add_generation_prompt=True,
            tokenize=True,
            return_dict=False,
            **settings.chat,
        )
        for prompt in prompts
    ]
    return rendered

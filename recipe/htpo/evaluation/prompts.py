# Copyright 2026 The verl-htpo authors
# SPDX-License-Identifier: Apache-2.0
"""Prompts to evaluate, out of parquet files as verl reads them."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jinja2
from transformers import PreTrainedTokenizerBase

from data_prep.errors import DataError
from data_prep.operations.messages import as_texts, messages_type_problem
from data_prep.storage.parquet import open_parquet, parquet_batches
from recipe.htpo.evaluation.settings import EvalSettings, SettingsError
from recipe.htpo.reward import problem_text

COLUMNS = ("data_source", "prompt", "reward_model")
_BUILD = "bring it into verl's form: `python -m data_prep build --source FILE --problem COLUMN --answer COLUMN`"


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
        schema = open_parquet(path).schema_arrow
        names = schema.names
        if missing := [column for column in COLUMNS if column not in names]:
            raise SettingsError("data", f"{path} has no column {', '.join(missing)}", _BUILD)
        if wrong := messages_type_problem(schema.field("prompt").type):
            raise SettingsError("data", f"{path}: {wrong}", _BUILD)
        columns = [*COLUMNS, *(["extra_info"] if "extra_info" in names else [])]
        rows = [row for batch in parquet_batches(path, columns) for row in batch.to_pylist()]
    except DataError as error:
        place = f", {error.place}" if error.place else ""
        raise SettingsError("data", f"{path}{place}: {error.problem}", error.remedy) from error
    if not rows:
        raise SettingsError("data", f"{path} has no rows", "build it again")
    return rows


def _prompt(row: Mapping[str, Any], name: str) -> Prompt:
    extra = row.get("extra_info") or {}
    messages = row["prompt"]
    for column, value in (("extra_info", extra), ("reward_model", row["reward_model"] or {})):
        if not isinstance(value, Mapping):
            remedy = "write it as a struct (JSON text: parse it first)"
            raise SettingsError("data", f"{column} of {name} is {type(value).__name__}, not a struct", remedy)
    truth = (row["reward_model"] or {}).get("ground_truth")
    if not messages or None in messages:
        raise SettingsError("data", f"a prompt of {name} is no list of messages", _BUILD)
    if any(message["content"] is None for message in messages):
        raise SettingsError("data", f"a message of a prompt of {name} has no content", _BUILD)
    if any(_holds_media(message["content"]) for message in messages):
        raise SettingsError("data", f"a prompt of {name} has parts that are no text", "evaluate prompts of text alone")
    if truth is None:
        raise SettingsError("data", f"a row of {name} has no reward_model.ground_truth", _BUILD)
    index = extra.get("index")
    prompt = Prompt(
        data_source=str(row["data_source"]),
        id=str(extra.get("id") or ""),
        index=index if isinstance(index, int) else None,
        problem=problem_text(extra),
        messages=tuple(as_texts(messages)),
        ground_truth=[str(part) for part in truth] if isinstance(truth, list) else str(truth),
        extra_info=extra,
    )
    return prompt if prompt.id else _with_id(prompt)


def _holds_media(content: Any) -> bool:
    """Whether content parts are more than text: the model is asked in tokens alone."""
    return isinstance(content, list) and any(
        isinstance(part, Mapping) and not isinstance(part.get("text"), str) for part in content
    )


def _with_id(prompt: Prompt) -> Prompt:
    return Prompt(**{**vars(prompt), "id": prompt.digest.hex()})


def read_template(settings: EvalSettings) -> str | None:
    """The chat template that was given, or None; raises SettingsError where the file cannot be read."""
    if not settings.chat_template:
        return None
    path = Path(settings.chat_template)
    if not path.is_file():
        raise SettingsError("chat_template", f"no such file: {path}", "give a Jinja file")
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise SettingsError("chat_template", f"{path} is no UTF-8 ({error})", "give a Jinja file") from error


def token_ids(prompts: list[Prompt], tokenizer: PreTrainedTokenizerBase, settings: EvalSettings) -> list[list[int]]:
    """Tokens of each prompt, by the chat template; raises SettingsError where there is none, or it refuses a prompt."""
    template = read_template(settings)
    if template is None and not tokenizer.chat_template:
        raise SettingsError("chat_template", "the model's tokenizer has none", "give one: chat_template=FILE.jinja")
    rendered: list[Any] = []
    for prompt in prompts:
        try:
            ids = tokenizer.apply_chat_template(
                [dict(message) for message in prompt.messages],
                chat_template=template,
                add_generation_prompt=True,
                tokenize=True,
                return_dict=False,
                **settings.chat,
            )
        except jinja2.TemplateError as error:
            remedy = "give one that fits the prompts: chat_template=FILE.jinja"
            raise SettingsError("chat_template", f"fails on prompt {prompt.id} ({error})", remedy) from error
        rendered.append(ids)
    return rendered

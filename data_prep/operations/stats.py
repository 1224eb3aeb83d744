# Copyright 2026 The verl-htpo authors
# SPDX-License-Identifier: Apache-2.0
"""Figures of a file of the contract: rows, repetitions, conflicts, answers, lengths, levels."""

import json
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from data_prep.contract import contract_batches
from data_prep.operations.conflicts import Conflicts, problem_key
from data_prep.operations.lengths import prompt_lengths
from data_prep.storage.digests import DigestMap, digest
from data_prep.storage.files import atomic_output

_INTEGER = re.compile(r"-?\d+")
_DECIMAL = re.compile(r"-?\d*\.\d+")
_HAN = re.compile(r"[\u3400-\u9fff]")
LEVELS_SHOWN = 12


@dataclass
class Stats:
    """Figures of one file."""

    rows: int = 0
    """Number of rows."""
    distinct_problems: int = 0
    """Distinct problem texts."""
    distinct_up_to_space: int = 0
    """Distinct problem texts when white space is evened out."""
    conflicts: int = 0
    """Problems that come with more than one answer."""
    negative: int = 0
    """Negative integer answers."""
    longest_answer: int = 0
    """Characters of the longest answer."""
    answers: Counter = field(default_factory=Counter)
    """Rows by kind of answer: integer, decimal, expression."""
    languages: Counter = field(default_factory=Counter)
    """Distinct problems by script: zh when any Han character occurs, else en."""
    columns: dict[str, Counter] = field(default_factory=dict)
    """Rows by value of data_source, split, level."""
    lengths: dict[str, list[int]] = field(default_factory=dict)
    """Prompt lengths: characters and, with a tokenizer, tokens: [median, 99th percentile, longest]."""


def stats_of(path: Path, tokenizer: Any = None) -> Stats:
    """One pass over a file; lengths are kept as 4 bytes a row, texts as digests."""
    stats = Stats(columns={name: Counter() for name in ("data_source", "split", "level")})
    lengths: dict[str, list[np.ndarray]] = {"characters": []}
    with Conflicts() as conflicts, DigestMap() as evened:
        for batch in contract_batches(path):
            records = batch.to_pylist()
            for record in records:
                _count(stats, record, conflicts, evened)
            prompts = [record["prompt"] for record in records]
            texts = [sum(len(message["content"]) for message in prompt) for prompt in prompts]
            lengths["characters"].append(np.array(texts, dtype=np.int32))
            stats.distinct_problems, stats.conflicts = conflicts.problems, conflicts.count
            if tokenizer is not None:
                tokens = np.array(prompt_lengths(tokenizer, prompts), dtype=np.int32)
                lengths.setdefault("tokens", []).append(tokens)
    for name, parts in lengths.items():
        joined = np.concatenate(parts)
        stats.lengths[name] = [int(np.percentile(joined, q)) for q in (50, 99, 100)]
    return stats


def _count(stats: Stats, record: dict, conflicts: Conflicts, evened: DigestMap) -> None:
    extra, answer = record["extra_info"], record["reward_model"]["ground_truth"]
    stats.rows += 1
    stats.columns["data_source"][record["data_source"]] += 1
    stats.columns["split"][extra["split"]] += 1
    stats.columns["level"][extra["level"]] += 1
    integer = _INTEGER.fullmatch(answer)
    stats.answers["integer" if integer else "decimal" if _DECIMAL.fullmatch(answer) else "expression"] += 1
    stats.negative += bool(integer) and answer.startswith("-")
    stats.longest_answer = max(stats.longest_answer, len(answer))
    known = conflicts.problems
    conflicts.add(digest(*_key(record)), answer)
    if conflicts.problems > known:
        stats.languages["zh" if _HAN.search(extra["problem"]) else "en"] += 1
    space = digest(" ".join(extra["problem"].split()))
    if evened.get(space) is None:
        evened.set(space, 1)
        stats.distinct_up_to_space += 1


def lines(stats: Stats) -> Iterator[str]:
    """The figures as text, one a line."""
    yield f"rows                {stats.rows:,}"
    yield f"distinct problems   {stats.distinct_problems:,} ({stats.distinct_up_to_space:,} up to white space)"
    yield f"conflicting answers {stats.conflicts:,} problems"
    yield f"answers             {_counter(stats.answers)}; {stats.negative:,} negative, longest {stats.longest_answer}"
    yield f"languages           {_counter(stats.languages)}"
    for name, values in stats.columns.items():
        if set(values) != {None}:
            yield f"{name:19} {_counter(values)}"
    for name, (median, high, longest) in stats.lengths.items():
        yield f"prompt {name:12} median {median:,}, 99 % {high:,}, longest {longest:,}"


def write_conflicts(path: Path, out: Path) -> int:
    """Writes one JSON line for each problem with several answers: the answers and ids. Returns their number."""
    with Conflicts() as conflicts:
        for _, record in _records(path):
            conflicts.add(digest(*_key(record)), record["reward_model"]["ground_truth"])
        groups: dict[tuple[str, ...], list[dict]] = {}
        for row, record in _records(path):
            key = _key(record)
            if conflicts.has(digest(*key)):
                found = {"row": row, "id": record["extra_info"]["id"], "answer": record["reward_model"]["ground_truth"]}
                groups.setdefault(key, []).append(found)
    with atomic_output(out) as stream:
        for (problem, *_), rows in groups.items():
            stream.write(json.dumps({"problem": problem, "rows": rows}, ensure_ascii=False).encode() + b"\n")
    return len(groups)


def _records(path: Path) -> Iterator[tuple[int, dict]]:
    row = 0
    for batch in contract_batches(path, ["prompt", "reward_model", "extra_info"]):
        for record in batch.to_pylist():
            yield row, record
            row += 1


def _key(record: dict) -> tuple[str, ...]:
    return problem_key(record["extra_info"]["problem"], record["prompt"][:-1])


def _counter(counter: Counter) -> str:
    shown = counter.most_common(LEVELS_SHOWN)
    rest = len(counter) - len(shown)
    return ", ".join(f"{name} {count:,}" for name, count in shown) + (f", {rest} more values" if rest else "")

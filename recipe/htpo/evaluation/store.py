# Copyright 2026 The verl-htpo authors
# SPDX-License-Identifier: Apache-2.0
"""Files of an evaluation: a journal of finished chunks while it runs, and one parquet file with what came of it."""

import fcntl
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import orjson
import pyarrow as pa
import pyarrow.parquet as pq

from data_prep.storage.files import atomic_output
from recipe.htpo.dotted import flat
from recipe.htpo.evaluation.outcomes import Outcomes
from recipe.htpo.evaluation.settings import SettingsError

RESPONSES_FILE = "responses.parquet"
JOURNAL_FILE = "journal.jsonl"
METADATA_KEY = b"htpo_evaluation"
ANSWERS = {"text": pa.string(), "list": pa.list_(pa.string())}


def schema(ground_truth: pa.DataType) -> pa.Schema:
    """Columns of a file of responses; one row is one sample."""
    return pa.schema(
        [
            ("data_source", pa.string()),
            # Of the prompt, as in the evaluated file: what `data_prep select --verdicts` joins on.
            ("id", pa.string()),
            ("index", pa.int64()),
            ("problem", pa.string()),
            ("sample", pa.int32()),
            ("response", pa.string()),
            ("response_tokens", pa.int32()),
            ("finish_reason", pa.string()),
            ("ground_truth", ground_truth),
            ("acc", pa.float64()),
            ("score", pa.float64()),
            ("pred", pa.string()),
            ("reason", pa.string()),
        ]
    )


class Journal:
    """Finished chunks of an evaluation that may be killed at any time; one line each, whole or passed over."""

    def __init__(self, stream: BinaryIO, record: Mapping[str, Any]) -> None:
        self._stream = stream
        self.chunks: dict[int, list[dict[str, Any]]] = {}
        stream.seek(0)
        entries, end = [], 0
        for line in stream:
            entry = _entry(line)
            if entry is None:
                break
            entries.append(entry)
            end += len(line)
        # What a kill left unfinished must not run into the next line.
        stream.truncate(end)
        if entries:
            _require_same(entries[0], record)
            self.chunks = {entry["chunk"]: entry["rows"] for entry in entries[1:]}
        else:
            self._write(record)

    def _write(self, entry: Mapping[str, Any]) -> None:
        self._stream.write(orjson.dumps(entry) + b"\n")
        self._stream.flush()

    def add(self, number: int, rows: list[dict[str, Any]]) -> None:
        """Keep the rows of a finished chunk."""
        self.chunks[number] = rows
        self._write({"chunk": number, "rows": rows})


@contextmanager
def open_journal(directory: Path, record: Mapping[str, Any]) -> Iterator[Journal]:
    """The journal of an evaluation, locked.

    Raises SettingsError when it cannot be made, another process writes it, or it is of an evaluation with other
    settings.
    """
    try:
        directory.mkdir(parents=True, exist_ok=True)
        stream = open(directory / JOURNAL_FILE, "ab+")
    except OSError as error:
        problem = f"cannot write into {directory} ({error.strerror})"
        raise SettingsError("out", problem, "name another directory: out=DIR") from error
    with stream:
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise SettingsError("out", f"another process evaluates into {directory}", "wait, or set out=") from error
        yield Journal(stream, record)


def _entry(line: bytes) -> dict[str, Any] | None:
    try:
        entry = orjson.loads(line) if line.endswith(b"\n") else None
    except orjson.JSONDecodeError:
        return None
    return entry if isinstance(entry, dict) else None


def write_responses(directory: Path, rows: Sequence[Mapping[str, Any]], record: Mapping[str, Any]) -> Path:
    """The file of responses, whole or not at all; the same bytes for the same rows and record."""
    several = any(isinstance(row["ground_truth"], list) for row in rows)
    if several:
        rows = [
            row if isinstance(row["ground_truth"], list) else {**row, "ground_truth": [row["ground_truth"]]}
            for row in rows
        ]
    table = pa.Table.from_pylist(list(rows), schema(ANSWERS["list" if several else "text"]))
    metadata = {METADATA_KEY: json.dumps(record, sort_keys=True).encode()}
    path = directory / RESPONSES_FILE
    with atomic_output(path) as stream:
        pq.write_table(table.replace_schema_metadata(metadata), stream, compression="zstd")
    return path


def read_record(path: Path) -> dict[str, Any]:
    """Settings, model and data that made a file of responses; raises SettingsError where it is none, or damaged."""
    if not path.is_file():
        raise SettingsError("responses", f"no such file: {path}", "make it with scripts/eval.sh")
    try:
        metadata = pq.read_schema(path).metadata or {}
    except pa.ArrowInvalid as error:
        raise SettingsError("responses", f"{path} is damaged ({error})", "delete it, and evaluate again") from error
    if METADATA_KEY not in metadata:
        raise SettingsError("responses", f"{path} is no file of an evaluation", "make one with scripts/eval.sh")
    return json.loads(metadata[METADATA_KEY])


def require_same(path: Path, record: Mapping[str, Any]) -> None:
    """Raises SettingsError when a file of responses is of another evaluation."""
    _require_same(read_record(path), record)


def _require_same(found: Mapping[str, Any], asked: Mapping[str, Any]) -> None:
    found, asked = flat(found), flat(json.loads(json.dumps(asked)))
    different = [name for name in sorted({*found, *asked}) if found.get(name) != asked.get(name)]
    if different:
        changes = "; ".join(f"{name} {found.get(name)} -> {asked.get(name)}" for name in different)
        raise SettingsError("out", f"holds another evaluation ({changes[:500]})", "choose another directory: out=DIR")


def read_outcomes(path: Path) -> dict[str, Outcomes]:
    """Right and wrong samples of a file of responses, by data source."""
    table = pq.read_table(path, columns=["data_source", "id", "acc"])
    samples: dict[str, list[tuple[str, float]]] = {}
    for source, prompt, acc in zip(*(column.to_pylist() for column in table.columns), strict=True):
        samples.setdefault(source, []).append((prompt, acc))
    return {source: Outcomes.of_samples(found) for source, found in samples.items()}

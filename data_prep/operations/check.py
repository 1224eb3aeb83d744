# Copyright 2026 The verl-htpo authors
# SPDX-License-Identifier: Apache-2.0
"""Finds what would break or spoil a run in any verl parquet file, made by data_prep or not."""

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import pyarrow as pa

from data_prep.contract import schema_difference
from data_prep.errors import DataError
from data_prep.operations.joins import join_difference
from data_prep.operations.lengths import load_tokenizer, prompt_lengths
from data_prep.operations.messages import as_texts, has_user_text, messages_type_problem
from data_prep.sources.conversation import last_user_text
from data_prep.sources.templates import strip_known_template
from data_prep.storage.digests import DigestMap, digest
from data_prep.storage.files import sha256_of
from data_prep.storage.parquet import open_parquet, parquet_batches

ROWS_SHOWN = 10
UNPARSABLE_SHARE = 0.1
"""Up to this share of rows an unparsable ground truth is a warning (most sets have a few), above it an error."""
COLUMNS = ("data_source", "prompt", "reward_model", "extra_info")
_SPLIT_WORD = re.compile(r"train|test|val")


@dataclass(frozen=True, kw_only=True)
class Problem:
    """One kind of problem in one file."""

    file: str
    """The file."""
    kind: str
    """Short name: unreadable, missing-column, wrong-type, features, empty-prompt, null-message, data-source,
    ground-truth, unparsable-ground-truth, null-field, empty-file, duplicate-id, repeated-prompt, overlong-prompt,
    same-file, train-is-test."""
    message: str
    """What is wrong, with file and rows."""
    remedy: str
    """What to do."""
    rows: tuple[int, ...] = ()
    """The first ``ROWS_SHOWN`` rows concerned, from 0."""
    count: int = 0
    """Number of rows concerned; 0 when the problem is the whole file's."""
    severity: Literal["error", "warning"] = "error"
    """Warnings do not make ``check`` fail."""

    def __str__(self) -> str:
        return f"{self.severity} [{self.kind}]: {self.message}. Remedy: {self.remedy}"


def check_files(
    paths: Iterable[str | Path],
    tokenizer: Any = None,
    max_prompt_length: int | None = None,
    *,
    warnings: bool = False,
) -> list[Problem]:
    """Checks the files of one list (verl's ``data.train_files`` or ``data.val_files``); an empty list is a pass.

    ``tokenizer`` is a name, a folder or a tokenizer object; it is needed for ``max_prompt_length``. Files are streamed.
    Ground truths are tried with the project's verifier when that is installed. ``warnings`` adds what is odd but runs
    (repeated prompts, a few ground truths that the verifier cannot read). Files are compared with each other: the same
    file twice, and a problem that is in a train and in a test split, are errors.

    Raises DataError when only one of ``tokenizer`` and ``max_prompt_length`` is given.
    """
    if (tokenizer is None) != (max_prompt_length is None):
        raise DataError("a tokenizer and a longest prompt length go together", remedy="give both or none")
    loaded = load_tokenizer(tokenizer) if isinstance(tokenizer, str) else tokenizer
    found: list[Problem] = []
    schemas: dict[str, pa.Schema] = {}
    files = [Path(path) for path in paths]
    copies, distinct = _same_files(files)
    found += copies
    with _Splits() as splits:
        for path in distinct:
            try:
                schemas[str(path)] = open_parquet(path).schema_arrow
                found += _FileCheck(path, loaded, max_prompt_length, splits).run()
            except DataError as error:
                message = f"{path}: {error.problem}{f' ({error.place})' if error.place else ''}"
                found.append(Problem(file=str(path), kind="unreadable", message=message, remedy=error.remedy))
    found += _feature_problems(schemas)
    return [problem for problem in found if warnings or problem.severity == "error"]


def _same_files(paths: list[Path]) -> tuple[list[Problem], list[Path]]:
    """A problem for every file that repeats an earlier one, by name or by content, and the files without these."""
    problems: list[Problem] = []
    distinct: dict[tuple[int, str], Path] = {}
    for path in paths:
        key = (path.stat().st_size, sha256_of(path)) if path.is_file() else (-1, str(path))
        if key not in distinct:
            distinct[key] = path
            continue
        message = f"{path}: the same file as {distinct[key]}"
        problems.append(Problem(file=str(path), kind="same-file", message=message, remedy="list a file once"))
    return problems, list(distinct.values())


class _Splits:
    """The problems of all files of a call, by split: finds those that are both trained and tested on."""

    def __init__(self) -> None:
        self._first = DigestMap()
        self._files: list[Path] = []

    def __enter__(self) -> "_Splits":
        return self

    def __exit__(self, *exception: object) -> None:
        self._first.__exit__(*exception)

    def start(self, path: Path) -> None:
        """The rows that follow are of ``path``."""
        self._files.append(path)

    def other_side(self, record: dict) -> Path | None:
        """The file that holds the row's problem in the other split, if any; remembers the row."""
        extra_info = record.get("extra_info") or {}
        side = _side(extra_info.get("split")) or _side(self._files[-1].name)
        text = extra_info.get("problem") or strip_known_template(last_user_text(as_texts(record["prompt"])) or "")
        text = " ".join(str(text).split())
        if side is None or not text:
            return None
        key = digest(side, text)
        if self._first.get(key) is None:
            self._first.set(key, len(self._files) - 1)
        number = self._first.get(digest("test" if side == "train" else "train", text))
        return None if number is None else self._files[number]


def _side(name: object) -> str | None:
    """``train`` or ``test`` out of the name of a split or file; validation counts as test."""
    match = _SPLIT_WORD.search(str(name).lower())
    return None if match is None else "train" if match.group() == "train" else "test"


class _Rows:
    """Rows of one kind of problem."""

    def __init__(self, message: str, remedy: str, severity: Literal["error", "warning"] = "error") -> None:
        self.message = message
        self.remedy = remedy
        self.severity = severity
        self.first: list[int] = []
        self.count = 0

    def add(self, row: int, detail: str = "") -> None:
        self.count += 1
        if len(self.first) < ROWS_SHOWN:
            self.first.append(row)
        if self.count == 1 and detail:
            self.message = f"{self.message}: {detail}"

    def text(self) -> str:
        """The message with the rows."""
        rows = ", ".join(map(str, self.first)) + (", ..." if self.count > len(self.first) else "")
        return f"{self.message} ({self.count:,} row{'s' if self.count > 1 else ''}: {rows})"


class _FileCheck:
    """All row checks of one file in one pass."""

    def __init__(self, path: Path, tokenizer: Any, max_prompt_length: int | None, splits: _Splits) -> None:
        self._path = path
        self._splits = splits
        self._tokenizer = tokenizer
        self._longest = max_prompt_length
        self._ground_truth_problem = _verifier()
        self._kinds = {
            "empty-prompt": _Rows("prompt has no user message with text", "delete these rows"),
            "null-message": _Rows("a message of the prompt is null", "delete the message, or the row"),
            "data-source": _Rows("data_source is empty", "fill in the name of the set; it selects the scorer"),
            "ground-truth": _Rows(
                "reward_model.ground_truth is not a text with content",
                "write the answer as text (27.0 as 27); drop rows without an answer",
            ),
            "unparsable-ground-truth": _Rows(
                "the verifier cannot read the ground truth",
                "correct or drop these rows; if many, map the answer: `build --answer COLUMN --answer-rule RULE`",
                "warning",
            ),
            "null-field": _Rows(
                "a field that the contract fills in every row is null", "fill it in, or build the file again"
            ),
            "duplicate-id": _Rows("extra_info.id occurs before", "list a file once; mix each set once"),
            "repeated-prompt": _Rows(
                "prompt occurs before in the file",
                "build with --dedup problems; for several samples a prompt raise rollout n",
                "warning",
            ),
            "train-is-test": _Rows(
                "problem is in a train and in a test split",
                "train on other rows: `decontaminate TRAIN --against TEST --out FILE` writes them",
            ),
            "overlong-prompt": _Rows(
                f"prompt is longer than {max_prompt_length} tokens",
                "raise data.max_prompt_length, or cut with `select --max-prompt-length`",
            ),
        }

    def run(self) -> list[Problem]:
        schema = open_parquet(self._path).schema_arrow
        file_problems = list(self._schema_problems(schema))
        if file_problems:
            return file_problems
        columns = [name for name in COLUMNS if name in schema.names]
        of_contract = schema_difference(schema) is None
        row = 0
        self._splits.start(self._path)
        with DigestMap() as ids, DigestMap() as prompts:
            for batch in parquet_batches(self._path, columns):
                records = batch.to_pylist()
                for record in records:
                    self._check(row, record, ids, prompts)
                    if of_contract:
                        self._check_contract(row, record)
                    row += 1
                self._check_lengths(row - len(records), records)
        unparsable = self._kinds["unparsable-ground-truth"]
        if unparsable.count > UNPARSABLE_SHARE * row:
            unparsable.severity = "error"
        return [
            Problem(
                file=str(self._path),
                kind=kind,
                message=f"{self._path}: {rows.text()}",
                remedy=rows.remedy,
                rows=tuple(rows.first),
                count=rows.count,
                severity=rows.severity,
            )
            for kind, rows in self._kinds.items()
            if rows.count
        ]

    def _schema_problems(self, schema: pa.Schema) -> Iterable[Problem]:
        def problem(kind: str, message: str, remedy: str) -> Problem:
            return Problem(file=str(self._path), kind=kind, message=f"{self._path}: {message}", remedy=remedy)

        convert = "map your columns: `build --source FILE --problem COLUMN --answer COLUMN`"
        for name in ("data_source", "prompt", "reward_model"):
            if name not in schema.names:
                yield problem("missing-column", f"no column {name!r} (columns: {', '.join(schema.names)})", convert)
        wrong = messages_type_problem(schema.field("prompt").type) if "prompt" in schema.names else None
        if wrong:
            yield problem("wrong-type", wrong, convert)
        if "extra_info" in schema.names and not _is_struct_or_null(schema.field("extra_info").type):
            found = schema.field("extra_info").type
            remedy = "write it as a struct (JSON text: parse it first), or leave the column out"
            yield problem("wrong-type", f"extra_info is {found}, not a struct", remedy)
        if "reward_model" in schema.names:
            type_ = schema.field("reward_model").type
            position = type_.get_field_index("ground_truth") if pa.types.is_struct(type_) else -1
            if position < 0:
                yield problem("missing-column", "no field reward_model.ground_truth", convert)
            elif pa.types.is_nested(type_.field(position).type):
                found = type_.field(position).type
                yield problem("wrong-type", f"reward_model.ground_truth is {found}, not text", convert)
        if open_parquet(self._path).metadata.num_rows == 0:
            yield problem("empty-file", "the file has no row", "build it again")

    def _check(self, row: int, record: dict, ids: DigestMap, prompts: DigestMap) -> None:
        messages = record["prompt"] or []
        if None in messages:
            self._kinds["null-message"].add(row)
            messages = [message for message in messages if message is not None]
        if not has_user_text(messages):
            self._kinds["empty-prompt"].add(row)
        if not str(record["data_source"] or "").strip():
            self._kinds["data-source"].add(row)
        self._check_ground_truth(row, (record["reward_model"] or {}).get("ground_truth"))
        row_id = (record.get("extra_info") or {}).get("id")
        if row_id is not None and _seen_before(ids, digest(str(row_id)), row):
            self._kinds["duplicate-id"].add(row, repr(row_id))
        text = "\0".join(f"{message['role']}\0{message['content']}" for message in messages)
        if _seen_before(prompts, digest(text), row):
            self._kinds["repeated-prompt"].add(row)
        other = self._splits.other_side(record)
        if other is not None:
            self._kinds["train-is-test"].add(row, f"see {other}")

    def _check_contract(self, row: int, record: dict) -> None:
        extra_info = record["extra_info"] or {}
        null = [f"extra_info.{name}" for name in ("id", "problem") if extra_info.get(name) is None]
        null += ["prompt.content" for message in record["prompt"] or () if message and message["content"] is None]
        if null:
            self._kinds["null-field"].add(row, null[0])

    def _check_ground_truth(self, row: int, ground_truth: object) -> None:
        if not isinstance(ground_truth, str) or not ground_truth.strip():
            self._kinds["ground-truth"].add(row, repr(ground_truth))
        elif self._ground_truth_problem is not None:
            problem = self._ground_truth_problem(ground_truth)
            if problem is not None:
                self._kinds["unparsable-ground-truth"].add(row, f"{ground_truth!r:.80}: {problem}")

    def _check_lengths(self, first_row: int, records: list[dict]) -> None:
        if self._longest is None:
            return
        prompts = [as_texts(record["prompt"]) for record in records]
        rows = [row for row, prompt in enumerate(prompts) if has_user_text(prompt)]
        lengths = prompt_lengths(self._tokenizer, [prompts[row] for row in rows])
        for row, length in zip(rows, lengths, strict=True):
            if length > self._longest:
                self._kinds["overlong-prompt"].add(first_row + row, f"{length} tokens")


def _verifier() -> Callable[[str], str | None] | None:
    """The verifier's judgement of a ground truth, when the recipe is installed beside data_prep."""
    try:
        from recipe.htpo.verifier import ground_truth_problem
    except ImportError:
        return None
    return ground_truth_problem


def _is_struct_or_null(type_: pa.DataType) -> bool:
    return pa.types.is_struct(type_) or pa.types.is_null(type_)


def _seen_before(known: DigestMap, key: bytes, row: int) -> bool:
    if known.get(key) is not None:
        return True
    known.set(key, row)
    return False


def _feature_problems(schemas: dict[str, pa.Schema]) -> list[Problem]:
    """Files that ``datasets.concatenate_datasets``, hence verl, cannot join with an earlier one of the list."""
    found = []
    files = list(schemas)
    for position, file in enumerate(files):
        for earlier in files[:position]:
            difference = join_difference(pa.struct(list(schemas[earlier])), pa.struct(list(schemas[file])))
            if difference:
                found.append(
                    Problem(
                        file=file,
                        kind="features",
                        message=f"{file}: cannot be joined with {earlier}: {difference}",
                        remedy="build both files, so that they share one schema",
                    )
                )
                break
    return found

# Copyright 2026 The verl-htpo authors
# SPDX-License-Identifier: Apache-2.0
"""What a data set is: where its columns are, how its answers are read, where its files come from."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from data_prep.answers import ANSWER_RULES
from data_prep.errors import DataError
from data_prep.templates import strip_known_template

VERL_PROBLEM = ("extra_info.problem", "extra_info.raw_problem", "prompt")
VERL_ANSWER = ("reward_model.ground_truth.target", "reward_model.ground_truth")


@dataclass(frozen=True, kw_only=True)
class Parsed:
    """One problem of a source, answer normalised."""

    problem: str
    """The problem without template."""
    answer: str
    """The ground truth."""
    key: str | None = None
    """The source's own id, where it has a stable one."""
    level: str | None = None
    """Difficulty as the source states it."""
    subject: str | None = None
    """Field as the source states it."""


@dataclass(frozen=True, kw_only=True)
class Columns:
    """Dotted paths into a record; of several paths the first that holds a value is taken."""

    problem: tuple[str, ...] = ("problem", "question", *VERL_PROBLEM)
    """The problem text, or chat messages whose last user message is the problem (known templates are removed)."""
    answer: tuple[str, ...] = ("answer", *VERL_ANSWER)
    """What the answer rule reads."""
    level: tuple[str, ...] = ("level", "difficulty", "extra_info.level")
    """Difficulty."""
    subject: tuple[str, ...] = ("subject", "type", "extra_info.subject")
    """Field."""
    id: tuple[str, ...] = ()
    """The source's own stable id; empty: an id is made from problem and answer."""


@dataclass(frozen=True, kw_only=True)
class DataSet:
    """A registered data set. Most sets are an instance; one that needs code overrides ``parse``."""

    name: str
    """Name on the command line and folder name of the output."""
    title: str
    """One line for ``list``."""
    hub: str = ""
    """Hugging Face name used when no ``--source`` is given."""
    hub_config: str | None = None
    """Configuration of the Hugging Face data set."""
    splits: Mapping[str, str] = field(default_factory=lambda: {"train": "train"})
    """Our split names and the Hub's names for them."""
    files: Mapping[str, Sequence[str]] = field(default_factory=dict)
    """For each split, file name patterns (lower case) to look for in a ``--source`` folder, best first."""
    columns: Columns = field(default_factory=Columns)
    """Where the columns are."""
    answer_rule: str = "math"
    """One of ``answers.ANSWER_RULES``."""
    data_source: str = ""
    """verl's data_source; empty: the name."""
    ability: str = "math"
    """verl's ability."""
    template: str = "dapo"
    """Prompt template used when none is given."""
    dedup: str = "rows"
    """``rows``: drop repeated source rows; ``problems``: also drop repeated problems; ``none``."""
    bad_rows: str = "error"
    """What becomes of a row without problem or readable answer: ``error``, or ``drop`` with a warning."""

    def __post_init__(self) -> None:
        if self.answer_rule not in ANSWER_RULES:
            raise DataError(
                f"data set {self.name!r}: unknown answer rule {self.answer_rule!r}",
                remedy=f"choose one of {', '.join(ANSWER_RULES)}",
            )

    def parse(self, record: dict) -> Parsed:
        """A source record as a problem; raises DataError that says what is missing or unreadable."""
        return Parsed(
            problem=problem_text(required(record, self.columns.problem, "problem")),
            answer=ANSWER_RULES[self.answer_rule](required(record, self.columns.answer, "answer")),
            key=optional_text(record, self.columns.id),
            level=optional_text(record, self.columns.level),
            subject=optional_text(record, self.columns.subject),
        )

    def patterns(self, split: str) -> list[str]:
        """File name patterns of a split in a source folder."""
        return [*self.files.get(split, ()), f"{split}.*", f"{split}-*"]


@dataclass(frozen=True, kw_only=True)
class GeneratedSet(DataSet):
    """A set that is computed instead of read."""

    def generate(self, split: str, options: "GenerateOptions") -> Iterator[Parsed]:
        """Problems of a split; must depend on nothing but its arguments."""
        raise NotImplementedError


@dataclass(frozen=True, kw_only=True)
class GenerateOptions:
    """Options of a generated set."""

    train_rows: int = 2000
    """Rows of the train split."""
    test_rows: int = 200
    """Rows of the test split."""
    seed: int = 0
    """Seed of the train split."""
    test_seed: int = 1
    """Seed of the test split."""
    terms: tuple[int, ...] = (2, 3, 4, 5, 6, 7, 8)
    """Numbers of terms to draw from (arithmetic)."""


def value_at(record: dict, path: str) -> Any:
    """Value at a dotted path, or None."""
    value: Any = record
    for name in path.split("."):
        if not isinstance(value, Mapping):
            return None
        value = value.get(name)
    return value


def required(record: dict, paths: Sequence[str], what: str) -> Any:
    """First value found under ``paths``; raises DataError listing the columns there are."""
    for path in paths:
        value = value_at(record, path)
        if value is not None and value != "" and not isinstance(value, Mapping):
            return value
    raise DataError(
        f"no {what}: none of the columns {', '.join(paths)} holds a value (columns here: {', '.join(record)})",
        remedy=f"rename the column, or map it with columns: {{{what}: NAME}} in a YAML for `convert`",
    )


def optional_text(record: dict, paths: Sequence[str]) -> str | None:
    """First value found under ``paths`` as text, or None."""
    for path in paths:
        value = value_at(record, path)
        if value is not None:
            return str(int(value) if isinstance(value, float) and value.is_integer() else value)
    return None


_MESSAGES = "give the problem as text, or as messages of the form {role: user, content: TEXT}"


def last_user_text(messages: Sequence[Mapping]) -> Any:
    """``content`` of the last user message, or None."""
    return next((message.get("content") for message in reversed(messages) if message.get("role") == "user"), None)


def problem_text(value: Any) -> str:
    """Problem out of a text or of chat messages, known templates removed; raises DataError when it is empty."""
    if isinstance(value, Sequence) and not isinstance(value, str):
        if not all(isinstance(message, Mapping) for message in value):
            raise DataError("the prompt is a list, but not of messages", remedy=_MESSAGES)
        value = last_user_text(value)
        if value is None:
            raise DataError("the prompt has no user message with content", remedy=_MESSAGES)
    if not isinstance(value, str):
        raise DataError(f"the problem is {type(value).__name__}, not text", remedy=_MESSAGES)
    problem = strip_known_template(value)
    if not problem.strip():
        raise DataError("the problem is empty", remedy="delete the row")
    return problem

# Copyright 2026 The verl-htpo authors
# SPDX-License-Identifier: Apache-2.0
"""What a data set is: where its columns are, how its answers are read, where its files come from."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from data_prep.errors import DataError
from data_prep.sources.answers import ANSWER_RULES, read_answer
from data_prep.sources.conversation import MEDIA, Conversation, read_conversation
from data_prep.sources.filters import Condition, value_at

VERL_PROBLEM = ("extra_info.problem", "extra_info.raw_problem", "prompt")
VERL_ANSWER = ("reward_model.ground_truth.target", "reward_model.ground_truth")
CARRIED = ("tools_kwargs", "interaction_kwargs", "need_tools_kwargs", "agent_name", *MEDIA.values())
"""Columns that verl acts on: they travel without being asked for, from the record or from its ``extra_info``."""
IN_EXTRA_INFO = ("tools_kwargs", "interaction_kwargs", "need_tools_kwargs")
"""Those that verl looks for in ``extra_info``."""


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
    context: tuple[dict[str, str], ...] = ()
    """Messages ``{role, content}`` before the problem: a system message, earlier turns."""
    ability: str | None = None
    """verl's ability, where the source states it."""
    pass_rate: float | None = None
    """Share of correct responses that the source states."""
    columns: Mapping[str, Any] = field(default_factory=dict)
    """Further columns of the row."""
    extra_info: Mapping[str, Any] = field(default_factory=dict)
    """Further fields of ``extra_info``."""


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
    system: tuple[str, ...] = ()
    """A system message in a column of its own."""
    images: tuple[str, ...] = ("images", "extra_info.images")
    """One image or a list of them: a path, or {bytes, path}."""
    ability: tuple[str, ...] = ()
    """verl's ability."""
    pass_rate: tuple[str, ...] = ("extra_info.pass_rate",)
    """A published share of correct responses, or a count of them (see ``DataSet.pass_rate_of``)."""


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
    revision: str | None = None
    """Commit, tag or branch of the Hugging Face data set; None: the newest commit, which the file then names."""
    licence: str = ""
    """Licence as the source states it (an SPDX name where there is one); empty: unknown."""
    splits: Mapping[str, str] = field(default_factory=lambda: {"train": "train"})
    """Our split names and the Hub's names for them."""
    files: Mapping[str, Sequence[str]] = field(default_factory=dict)
    """For each split, file name patterns (lower case) to look for in a ``--source`` folder, best first."""
    columns: Columns = field(default_factory=Columns)
    """Where the columns are."""
    keep: tuple[str, ...] = ()
    """Further columns (dotted paths) that travel; those below ``extra_info.`` stay there."""
    named: tuple[tuple[str, ...], ...] = ()
    """Columns that must occur in some row, besides those of ``keep`` and ``filters``; of alternatives one is enough."""
    filters: tuple[Condition, ...] = ()
    """Conditions on the source's columns; rows that fail one are left out."""
    answer_rule: str = "math"
    """One of ``answers.ANSWER_RULES``."""
    pass_rate_of: int = 1
    """What a published pass rate is divided by: 16 for counts out of 16."""
    pass_rate_counts: Literal["correct", "wrong"] = "correct"
    """Whether the published figure counts right or wrong responses."""
    data_source: str = ""
    """verl's data_source; empty: the name."""
    ability: str = "math"
    """verl's ability, where no column states it."""
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
        conversation = read_conversation(required(record, self.columns.problem, "problem"))
        system = optional_text(record, self.columns.system)
        context = conversation.context
        if system:
            context = ({"role": "system", "content": system}, *(m for m in context if m["role"] != "system"))
        columns, extra_info = self._carried(record, conversation)
        return Parsed(
            problem=_with_placeholders(conversation.problem, context, columns),
            answer=read_answer(self.answer_rule, required(record, self.columns.answer, "answer")),
            key=optional_text(record, self.columns.id),
            level=optional_text(record, self.columns.level),
            subject=optional_text(record, self.columns.subject),
            context=context,
            ability=optional_text(record, self.columns.ability),
            pass_rate=self._pass_rate(record),
            columns=columns,
            extra_info=extra_info,
        )

    def _carried(self, record: dict, conversation: Conversation) -> tuple[dict[str, Any], dict[str, Any]]:
        """Further columns and further fields of ``extra_info``."""
        columns: dict[str, Any] = {}
        extra_info: dict[str, Any] = {}
        for name in CARRIED:
            value = next((v for v in (value_at(record, path) for path in (name, f"extra_info.{name}")) if v), None)
            if value is not None:
                (extra_info if name in IN_EXTRA_INFO else columns)[name] = value
        images = next((v for v in (value_at(record, path) for path in self.columns.images) if v), None)
        if images is not None:
            columns["images"] = images if isinstance(images, list) else [images]
        for name, found in conversation.media.items():
            columns.setdefault(name, found)
        for path in self.keep:
            name = destination(path)
            inside = name.startswith("extra_info.")
            (extra_info if inside else columns)[name.removeprefix("extra_info.")] = value_at(record, path)
        return columns, extra_info

    def _pass_rate(self, record: dict) -> float | None:
        value = next((v for v in (value_at(record, path) for path in self.columns.pass_rate) if v is not None), None)
        if value is None or value == "":
            return None
        try:
            rate = float(value) / self.pass_rate_of
        except (TypeError, ValueError) as error:
            raise DataError(f"pass rate is {value!r:.40}, not a number") from error
        rate = rate if self.pass_rate_counts == "correct" else 1 - rate
        if not math.isfinite(rate) or not 0 <= rate <= 1:
            raise DataError(
                f"pass rate is {rate:g}, not within 0 and 1",
                remedy="say with pass_rate_of how many responses were counted (--pass-rate-of)",
            )
        return rate

    def code(self) -> Sequence[str]:
        """Modules, besides those of the set's classes, that decide what its rows are."""
        return ()

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
    task: Mapping[str, Any] = field(default_factory=dict)
    """Options of a task (reasoning_gym)."""


def destination(path: str) -> str:
    """Where a kept column goes: a column, or a field of ``extra_info``."""
    inside = path.startswith("extra_info.") or path in IN_EXTRA_INFO
    return ("extra_info." if inside else "") + path.rpartition(".")[2]


def required(record: dict, paths: Sequence[str], what: str) -> Any:
    """First value found under ``paths``; raises DataError listing the columns there are."""
    for path in paths:
        value = value_at(record, path)
        if value is not None and value != "" and not isinstance(value, Mapping):
            return value
    for path in paths:
        value = value_at(record, path)
        if len(paths) == 1 and isinstance(value, Mapping) and value:
            fields = [f"{path}.{name}" for name in value]
            raise DataError(f"column {path!r} holds fields, no {what}", remedy=f"name one: {', '.join(fields[:8])}")
    raise DataError(
        f"no {what}: none of the columns {', '.join(paths)} holds a value (columns here: {', '.join(record)})",
        remedy=f"name the column with --{what} COLUMN, or in a YAML with columns: {{{what}: COLUMN}}",
    )


def optional_text(record: dict, paths: Sequence[str]) -> str | None:
    """First value found under ``paths`` as text, or None."""
    for path in paths:
        value = value_at(record, path)
        if value is not None:
            return str(int(value) if isinstance(value, float) and value.is_integer() else value)
    return None


def _with_placeholders(problem: str, context: Sequence[Mapping[str, str]], columns: Mapping[str, Any]) -> str:
    """The problem with one placeholder for each image, video and audio, which verl demands.

    Where the messages have none, they go first. Raises DataError when there are some, but not as many as files.
    """
    for kind, column in MEDIA.items():
        values = columns.get(column)
        if not values:
            continue
        mark = f"<{kind}>"
        count = problem.count(mark) + sum(message["content"].count(mark) for message in context)
        if count == 0:
            problem = mark * len(values) + problem
        elif count != len(values):
            raise DataError(f"{count} times {mark} in the messages, but {len(values)} {column}", remedy="mend the row")
    return problem

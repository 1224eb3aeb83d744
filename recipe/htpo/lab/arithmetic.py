# Copyright 2026 The verl-htpo authors
# SPDX-License-Identifier: Apache-2.0
"""Seeded arithmetic problems: chains of ``+`` and ``-`` over the digits 1 to 9, running value always within 0..99.

The number of terms sets the difficulty. Train and test problems are disjoint by a hash of the question alone, so no
choice of seeds, counts or levels can make them meet. The demo model reads one token per character: texts are short.
"""

import hashlib
import random
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Literal, get_args

Split = Literal["train", "test"]

TERMS = (2, 3, 4, 5, 6, 7, 8)
MAX_VALUE = 99
TEST_ONE_IN = 4
MAX_SLIP = 9


@dataclass(frozen=True)
class Problem:
    """One problem: ``question`` such as ``3+4-2``, its ``answer`` in decimal digits, and its number of ``terms``."""

    question: str
    answer: str
    terms: int


def problems(split: Split, count: int, seed: int, terms: Sequence[int] = TERMS) -> list[Problem]:
    """Draws ``count`` distinct problems of ``split``; the same arguments always give the same list.

    Each problem takes its number of terms from ``terms`` with equal chances, until a level is used up (there are only
    126 questions of two terms, train and test together); within a level all questions are equally likely.

    Raises ValueError on an unknown split, a negative count, a level outside ``TERMS``, or when fewer than ``count``
    distinct problems exist.
    """
    if split not in get_args(Split):
        raise ValueError(f"split must be one of {', '.join(get_args(Split))}, got {split!r}")
    if count < 0:
        raise ValueError(f"count must not be negative, got {count}")
    if not terms or not set(terms) <= set(TERMS):
        raise ValueError(f"terms must be numbers of terms out of {TERMS}, got {tuple(terms)}")
    rng = random.Random(seed)
    levels = {level: _questions(split, level, rng) for level in sorted(set(terms))}
    drawn: list[Problem] = []
    while len(drawn) < count:
        if not levels:
            raise ValueError(
                f"count={count} asks for more problems than exist: split {split!r} with terms {tuple(terms)} has "
                f"{len(drawn)} distinct problems; lower count or add levels to terms"
            )
        level = rng.choice(list(levels))
        question = next(levels[level], None)
        if question is None:
            del levels[level]
        else:
            drawn.append(Problem(question, str(_values(question)[-1]), level))
    return drawn


def split_of(question: str) -> Split:
    """The split a question belongs to: one in four questions is held out for ``test``."""
    digest = hashlib.blake2b(question.encode(), digest_size=8).digest()
    return "test" if int.from_bytes(digest, "big") % TEST_ONE_IN == 0 else "train"


def worked_solution(problem: Problem) -> str:
    """One line per step, then the answer: ``3+4=7``, ``7-2=5``, ``\\boxed{5}``."""
    return _write_steps(problem.question, _values(problem.question))


def direct_solution(problem: Problem) -> str:
    """The answer alone, without steps: ``\\boxed{5}``."""
    return f"\\boxed{{{problem.answer}}}"


def corrupted_solution(problem: Problem, seed: int) -> str:
    """A worked solution with one wrong step, carried on faithfully: every later value and the answer are wrong too.

    The slip is 1 to 9 up or down; step and slip are drawn from those that keep the running value within 0..99.
    """
    values = _values(problem.question)
    slips = [slip for slip in range(-MAX_SLIP, MAX_SLIP + 1) if slip]
    options = [
        (step, slip)
        for step in range(1, len(values))
        for slip in slips
        if all(0 <= value + slip <= MAX_VALUE for value in values[step:])
    ]
    wrong_step, slip = random.Random(seed).choice(options)
    return _write_steps(problem.question, values[:wrong_step] + [value + slip for value in values[wrong_step:]])


def _write_steps(question: str, values: list[int]) -> str:
    operations = re.findall(r"[+-]\d", question)
    steps = [f"{values[i]}{operation}={values[i + 1]}" for i, operation in enumerate(operations)]
    return "\n".join([*steps, f"\\boxed{{{values[-1]}}}"])


def _values(question: str) -> list[int]:
    """Running values, first operand included."""
    values = [int(question[0])]
    for operation in re.findall(r"[+-]\d", question):
        values.append(values[-1] + int(operation))
    return values


def _questions(split: Split, terms: int, rng: random.Random) -> Iterator[str]:
    """All questions of a level and split, each once, in a uniformly random order, drawn lazily."""
    total = sum(_continuations(first, terms - 1) for first in range(1, 10))
    for index in _shuffled(total, rng):
        question = _question_at(index, terms)
        if split_of(question) == split:
            yield question


def _shuffled(size: int, rng: random.Random) -> Iterator[int]:
    """Fisher-Yates shuffle of ``range(size)`` that stores only the entries it has moved."""
    moved: dict[int, int] = {}
    for i in range(size):
        j = rng.randrange(i, size)
        yield moved.get(j, j)
        moved[j] = moved.get(i, i)


@cache
def _continuations(value: int, operations: int) -> int:
    """How many chains of so many further operations stay within 0..99, starting from ``value``."""
    if operations == 0:
        return 1
    return sum(_continuations(value + change, operations - 1) for change in _changes(value))


@cache
def _changes(value: int) -> tuple[int, ...]:
    return tuple(change for change in range(-9, 10) if change and 0 <= value + change <= MAX_VALUE)


def _question_at(index: int, terms: int) -> str:
    """The question with this number in the enumeration of all questions of a level."""
    question, value, choices = "", 0, tuple(range(1, 10))
    for remaining in reversed(range(terms)):
        for change in choices:
            size = _continuations(value + change, remaining)
            if index < size:
                break
            index -= size
        question += f"{change:+d}" if question else str(change)
        value += change
        choices = _changes(value)
    return question

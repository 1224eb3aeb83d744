# Copyright 2026 The verl-htpo authors
# SPDX-License-Identifier: Apache-2.0
"""Words behind a number that contradict each other: an increase and a decrease of 20 %, 2 km north and 2 m north."""

from __future__ import annotations

import re
from fractions import Fraction

from recipe.htpo.verifier.unit_table import UNITS
from recipe.htpo.verifier.units import Unit

# A line is one question; its answers are parted by "|", and words that give the same answer by spaces.
_QUESTIONS = """
am|pm
increase increases increased increasing rise rises rose|decrease decreases decreased decreasing fall falls fell
profit gain gained earned|loss lost
clockwise|counterclockwise anticlockwise
left leftward leftwards|right rightward rightwards
up upward upwards upstream|down downward downwards downstream
forward forwards|backward backwards
ahead|behind
before earlier early|after later late
faster|slower
hotter warmer|colder cooler
heavier|lighter
longer taller|shorter
wider|narrower
older|younger
inside|outside
deposit deposited|withdrawal withdrawn withdrew
odd|even
"""
_POINTS = ("north", "south", "east", "west")
_AGAINST_THE_CLOCK = re.compile(r"\b(?:counter|anti) clockwise\b")
# Words are in lower case here: symbols with capitals are left out, and what is mostly no unit.
_UNIT_WORDS = {word: size for word, size in UNITS.items() if word.islower() and word not in ("in", "s", "us")}
_PICOMETRE = Unit(*UNITS["pm"])


def _answers() -> dict[str, tuple[int, frozenset[str]]]:
    answers: dict[str, tuple[int, frozenset[str]]] = {}
    questions = _QUESTIONS.split("\n")
    for question, line in enumerate(questions):
        for answer in line.split("|"):
            answers |= dict.fromkeys(answer.split(), (question, frozenset({answer})))
    for point in _POINTS:
        for ending in ("", "ward", "wards", "ern", "bound"):
            answers[point + ending] = (len(questions), frozenset({point}))
    for first in _POINTS[:2]:
        for second in _POINTS[2:]:
            answers[first + second] = (len(questions), frozenset({first, second}))
    return answers


_ANSWERS = _answers()


def contradict(left: Unit, right: Unit) -> bool:
    """Whether the words of two units answer one question differently, or hold units of one kind (m and km) and none in
    common; a unit without such a word contradicts nothing."""
    said, other = _said(left), _said(right)
    if any(said[question] != other[question] for question in said.keys() & other.keys()):
        return True
    sizes, others = _sizes(left), _sizes(right)
    return any(sizes[kind].isdisjoint(others[kind]) for kind in sizes.keys() & others.keys())


def _said(unit: Unit) -> dict[int, frozenset[str]]:
    """The answers in the words of ``unit``, by question."""
    words = "pm" if unit == _PICOMETRE else _AGAINST_THE_CLOCK.sub("counterclockwise", unit.words)
    said: dict[int, frozenset[str]] = {}
    for question, answer in filter(None, map(_ANSWERS.get, words.split())):
        said[question] = said.get(question, frozenset()) | answer
    return said


def _sizes(unit: Unit) -> dict[tuple[tuple[str, int], ...], set[Fraction]]:
    """The sizes of ``unit``, or of the units among its words, by their dimensions."""
    if not unit.words:
        return {unit.dimensions: {unit.size}} if unit.dimensions else {}
    sizes: dict[tuple[tuple[str, int], ...], set[Fraction]] = {}
    for size, dimensions in filter(None, map(_UNIT_WORDS.get, unit.words.split())):
        sizes.setdefault(dimensions, set()).add(size)
    return sizes

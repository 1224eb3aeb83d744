# Copyright 2026 The verl-htpo authors
# SPDX-License-Identifier: Apache-2.0
"""The syntax tree of an answer. Every node is immutable; scalars are ``Num``, ``Name``, ``Op`` and ``Based``."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction

from recipe.htpo.verifier.units import Unit


@dataclass(frozen=True, slots=True)
class Num:
    """A number literal; ``text`` keeps its digits as written."""

    value: Fraction
    text: str = ""


@dataclass(frozen=True, slots=True)
class Name:
    """A variable or a constant (``pi``, ``e``, ``i``, ``infty``, ``reals``) with its subscript and accents."""

    name: str


@dataclass(frozen=True, slots=True)
class Op:
    """An operation or a named function: ``add``, ``mul``, ``div``, ``pow``, ``neg``, ``pm``, ``sin``, ``abs``..."""

    name: str
    args: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class Based:
    """Digits in a stated base: ``204_5``."""

    digits: str
    base: int


@dataclass(frozen=True, slots=True)
class Quantity:
    """A value with the unit behind it (or, for currency, before it)."""

    value: Node
    unit: Unit


@dataclass(frozen=True, slots=True)
class Words:
    """Text: a name, a phrase, or a part that the grammar does not read."""

    text: str


@dataclass(frozen=True, slots=True)
class Seq:
    """Elements between brackets; a bare list has empty brackets. ``joint`` is ``,`` or ``or`` or ``and``."""

    opening: str
    items: tuple[Node, ...]
    closing: str
    joint: str = ","


@dataclass(frozen=True, slots=True)
class Ratio:
    """``3:4``, also a time of day; ``suffix`` is ``am`` or ``pm``."""

    parts: tuple[Node, ...]
    suffix: str = ""


@dataclass(frozen=True, slots=True)
class Matrix:
    """Rows of entries; ``kind`` is ``v`` for a determinant, else empty."""

    rows: tuple[tuple[Node, ...], ...]
    kind: str = ""


@dataclass(frozen=True, slots=True)
class SetOp:
    """``cup``, ``cap`` or ``setminus`` of two sets."""

    name: str
    left: Node
    right: Node


@dataclass(frozen=True, slots=True)
class Rel:
    """A chain ``sides[0] ops[0] sides[1] ...`` with ops ``= < <= > >= != in ~``."""

    sides: tuple[Node, ...]
    ops: tuple[str, ...]


Node = Num | Name | Op | Based | Quantity | Words | Seq | Ratio | Matrix | SetOp | Rel

CONSTANTS = frozenset({"pi", "e", "i", "infty", "reals"})


def children(node: Node) -> tuple[Node, ...]:
    """The direct parts of ``node``."""
    match node:
        case Op(args=parts) | Seq(items=parts) | Ratio(parts=parts) | Rel(sides=parts):
            return parts
        case Matrix(rows=rows):
            return tuple(entry for row in rows for entry in row)
        case SetOp(left=left, right=right):
            return (left, right)
        case Quantity(value=value):
            return (value,)
        case _:
            return ()


def walk(node: Node) -> Iterator[Node]:
    """``node`` and everything below it."""
    stack = [node]
    while stack:
        current = stack.pop()
        yield current
        stack.extend(children(current))


def variables(node: Node) -> set[str]:
    """The names in ``node`` that are no constants."""
    return {part.name for part in walk(node) if isinstance(part, Name) and part.name not in CONSTANTS}


def is_whole(node: Node) -> bool:
    """Whether ``node`` is written in digits alone."""
    return isinstance(node, Num) and node.text.isdecimal()


def is_proper_fraction(node: Node) -> bool:
    """Whether ``node`` is a fraction of whole numbers below one."""
    if not (isinstance(node, Op) and node.name == "div"):
        return False
    top, bottom = node.args
    return (
        isinstance(top, Num)
        and isinstance(bottom, Num)
        and is_whole(top)
        and is_whole(bottom)
        and (top.value < bottom.value)
    )


def is_minus_one(node: Node | None) -> bool:
    """Whether ``node`` is ``-1``, the mark of an inverse function."""
    return isinstance(node, Op) and node.name == "neg" and isinstance(node.args[0], Num) and node.args[0].value == 1


def is_ordered(seq: Seq) -> bool:
    """Whether ``seq`` is a tuple or a vector, where the order counts."""
    return seq.opening in ("(", "[", "langle")


def is_time(node: Ratio) -> bool:
    """``2:30``: a second part of two digits below 60, or a stated half of the day."""
    if node.suffix:
        return True
    return len(node.parts) in (2, 3) and all(
        isinstance(part, Num)
        and part.text.isdecimal()
        and len(part.text) <= 2
        and (index == 0 or len(part.text) == 2)
        and part.value < 60
        for index, part in enumerate(node.parts)
    )

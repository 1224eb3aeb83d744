# Copyright 2026 The verl-htpo authors
# SPDX-License-Identifier: Apache-2.0
"""What an equation says: a label with a value (``x = 5``, ``f(x) = x + 1``, ``2 + 3 = 5``) or a true relation."""

from __future__ import annotations

from decimal import Decimal
from fractions import Fraction
from typing import NamedTuple

from recipe.htpo.verifier.nodes import CONSTANTS, Name, Node, Num, Op, Rel, Seq, Words, variables
from recipe.htpo.verifier.numbers import CONTEXT
from recipe.htpo.verifier.scalars import Scalars, split_unit

_APPROXIMATION = Decimal("0.01")
_ASKED_FUNCTIONS = frozenset({"sin", "cos", "tan", "cot", "sec", "csc", "abs", "floor", "ceil", "max", "min", "gcd"})
FLIPPED = {"<": ">", "<=": ">=", ">": "<", ">=": "<="}


def is_label(node: Node) -> bool:
    """Whether ``node`` only names a value: ``x``, ``f(x)``, ``AB``, ``(x, y)``, words."""
    match node:
        case Words():
            return True
        case Name(name=name):
            return name not in CONSTANTS
        case Seq(items=items):
            return all(is_label(item) for item in items)
        case Op(name="mul", args=args):
            return _is_function(args[0]) and all(is_label(arg) or isinstance(arg, Num | Seq | Rel) for arg in args[1:])
        case Op(name="abs", args=(arg,)):
            return isinstance(arg, Op) and is_label(arg)
        case Op(name="div", args=args):
            return all(is_label(arg) for arg in args)
        case _:
            return False


def _is_function(node: Node) -> bool:
    if isinstance(node, Op) and node.name == "pow":
        node = node.args[0]
    return is_label(node) and not isinstance(node, Seq)


def _names_a_quantity(node: Node, expression_label: bool) -> bool:
    """Whether an expression says what was asked (``x + y``, ``\\cos A``) rather than stating an equation (``x^2``)."""
    if isinstance(node, Op) and node.name in _ASKED_FUNCTIONS:
        return bool(variables(node))
    return expression_label and len(variables(node)) >= 2


class Statement(NamedTuple):
    """What an equation says."""

    label: Node | None
    """What it names; None where it names nothing, as ``2 + 3 = 5``."""
    values: list[Node]
    """What it gives; empty where it gives nothing."""


NOTHING = Statement(None, [])


def label_and_values(rel: Rel, scalars: Scalars, asked: bool) -> Statement:
    """Split an equation into what it names and the values it gives: ``x = 1/2 = 0.5`` is ``x`` with two values.

    No values where it is no such equation: an order, an equation in its names (``x^2 = 5``), or a contradiction.
    ``asked`` is true for the ground truth. There ``x^2 + y^2 = 25`` is the answer itself, while a response that
    states ``x + y = 5`` may name what was asked for and answer 5.
    """
    if rel.ops == ("in",):
        return Statement(rel.sides[0], [rel.sides[1]])
    if not set(rel.ops) <= {"=", "~"}:
        return NOTHING
    label, values = _split_label(rel, scalars.config.expression_label and not asked)
    if isinstance(label, Name) and any(label.name in variables(value) for value in values):
        return NOTHING  # x = 2x + 1 is an equation in x
    between = rel.ops[len(rel.ops) - len(values) + 1 :]
    return Statement(label, _agreed_values(values, between, scalars))


def _split_label(rel: Rel, expression_label: bool) -> Statement:
    """The label, if there is one, and all sides behind it, whether they agree or not."""
    first, *rest = rel.sides
    if is_label(first):  # x = y = 5: the last label names the value as well
        while len(rest) > 1 and is_label(rest[0]):
            rest.pop(0)
        return Statement(first, rest)
    if rel.ops == ("=",) and isinstance(rest[0], Name) and is_label(rest[0]):  # 5 = x
        return Statement(rest[0], [first])
    if not variables(first):  # 2 + 3 = 5
        return Statement(None, [first, *rest])
    if _names_a_quantity(first, expression_label) and not variables(rest[-1]):  # x + y = 5
        return Statement(first, rest)
    return NOTHING


def _agreed_values(values: list[Node], between: tuple[str, ...], scalars: Scalars) -> list[Node]:
    """The values of a chain, whose neighbours must agree; ``between[k]`` stands behind ``values[k]``.

    One approximation is enough: a chain of them walks from number to number.
    """
    approximations = between.count("~")
    if approximations == 0:
        return values if _all_equal(values, scalars) else []
    if approximations > 1:
        return []
    cut = between.index("~") + 1
    exact, rounded = values[:cut], values[cut:]
    if not (_all_equal(exact, scalars) and _all_equal(rounded, scalars)):
        return []
    return _approximated(exact, rounded, scalars)


def _all_equal(values: list[Node], scalars: Scalars) -> bool:
    return all(scalars.equal(left, right) for left, right in zip(values, values[1:], strict=False))


def _approximated(exact: list[Node], rounded: list[Node], scalars: Scalars) -> list[Node]:
    """The values of ``exact \\approx rounded``, each side a chain of equal values.

    A number and its approximation are one answer only where the second is the first one rounded.
    """
    left, right = split_unit(exact[-1])[0], split_unit(rounded[0])[0]
    a, b = scalars.real_constant(left), scalars.real_constant(right)
    if a is None or b is None:
        return []
    size, other = scalars.ops.real(a), scalars.ops.real(b)
    gap = CONTEXT.subtract(size, other).copy_abs()
    if gap > CONTEXT.multiply(size, _APPROXIMATION).copy_abs():
        return []
    if isinstance(left, Num):
        return rounded  # 12.34 is about 12.3: the last number is the answer
    if gap <= _last_place(right):
        return exact + rounded
    # A badly rounded number leaves the exact one, but beside a rational number it is another answer.
    return [] if isinstance(a, Fraction) else exact


def _last_place(node: Node) -> Decimal:
    """The error that the last digit of a rounded number leaves: half for an integer, one for cut decimals."""
    if isinstance(node, Op) and node.name == "neg":
        node = node.args[0]
    if isinstance(node, Num) and "." in node.text:
        return Decimal(1).scaleb(-len(node.text.partition(".")[2]), CONTEXT)
    return Decimal("0.5") if isinstance(node, Num) else _APPROXIMATION


def by_label(seq: Seq) -> Seq:
    """``y = 2, x = 1`` as the values in the order of their names, like the tuple ``(1, 2)``; other lists unchanged."""
    if seq.opening or not all(isinstance(item, Rel) and item.ops == ("=",) for item in seq.items):
        return seq
    pairs = [item.sides for item in seq.items if isinstance(item, Rel)]
    names = [pair[0].name for pair in pairs if isinstance(pair[0], Name) and is_label(pair[0])]
    if len(set(names)) < len(pairs):
        return seq
    order = sorted(range(len(names)), key=names.__getitem__)
    return Seq("", tuple(pairs[index][1] for index in order), "")


def repeats_a_label(seq: Seq) -> bool:
    """Whether a list gives one name two values: ``x = 2, x = 3``."""
    names = [item.sides[0] for item in seq.items if isinstance(item, Rel) and is_label(item.sides[0])]
    return len(set(names)) < len(names)


def in_label_order(labels: tuple[Node, ...], value: Node) -> Node:
    """The tuple ``value`` of ``(y, x) = (2, 1)`` in the order of its names; other values unchanged."""
    names = [label.name for label in labels if isinstance(label, Name)]
    if not isinstance(value, Seq) or not len(labels) == len(set(names)) == len(value.items):
        return value
    order = sorted(range(len(names)), key=names.__getitem__)
    return Seq(value.opening, tuple(value.items[index] for index in order), value.closing, value.joint)


def single_steps(rel: Rel) -> list[Rel]:
    """A chain as its links, written with ``<`` and ``<=``."""
    steps = []
    for left, right, op in zip(rel.sides, rel.sides[1:], rel.ops, strict=False):
        if op in (">", ">="):
            left, right, op = right, left, FLIPPED[op]
        steps.append(Rel((left, right), (op,)))
    return steps

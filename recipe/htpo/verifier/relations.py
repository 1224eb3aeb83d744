# Copyright 2026 The verl-htpo authors
# SPDX-License-Identifier: Apache-2.0
"""What an equation says: a label with a value (``x = 5``, ``f(x) = x + 1``, ``2 + 3 = 5``) or a true relation."""

from __future__ import annotations

from decimal import Decimal

from recipe.htpo.verifier.evaluate import PLAIN
from recipe.htpo.verifier.nodes import CONSTANTS, Name, Node, Num, Op, Rel, Seq, Words, variables
from recipe.htpo.verifier.numbers import CONTEXT, Complex
from recipe.htpo.verifier.scalars import Scalars

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


def label_and_values(rel: Rel, scalars: Scalars) -> tuple[Node | None, list[Node]]:
    """The label and the values of an equation; no values where it is a relation or contradicts itself."""
    if rel.ops == ("in",):
        return rel.sides[0], [rel.sides[1]]
    if not set(rel.ops) <= {"=", "~"}:
        return None, []
    sides = list(rel.sides)
    label: Node | None = None
    if is_label(sides[0]):
        label = sides.pop(0)
        while len(sides) > 1 and is_label(sides[0]):
            sides.pop(0)
    elif len(sides) == 2 and rel.ops == ("=",) and isinstance(sides[1], Name) and is_label(sides[1]):
        label = sides.pop()
    elif variables(sides[0]):
        if not _names_a_quantity(sides[0], scalars.config.expression_label):
            return None, []
        if variables(sides[-1]):
            return None, []
        label = sides.pop(0)
    if isinstance(label, Name) and any(label.name in variables(side) for side in sides):
        return None, []
    if len(sides) > 1 and not _consistent(sides, rel.ops[-(len(sides) - 1) :], scalars):
        return None, []
    return label, sides


def _consistent(sides: list[Node], ops: tuple[str, ...], scalars: Scalars) -> bool:
    """Whether neighbours are equal, or near where the sign between them says so."""
    return all(
        scalars.equal(left, right) if op == "=" else _near(left, right, scalars)
        for left, right, op in zip(sides, sides[1:], ops, strict=False)
    )


def _near(left: Node, right: Node, scalars: Scalars) -> bool:
    if variables(left) or variables(right):
        return False
    a, b = scalars.value(left, {}, -1, PLAIN)[0], scalars.value(right, {}, -1, PLAIN)[0]
    if a is None or b is None or isinstance(a, Complex) or isinstance(b, Complex):
        return False
    x, y = scalars.ops.real(a), scalars.ops.real(b)
    return CONTEXT.subtract(x, y).copy_abs() <= CONTEXT.multiply(x, _APPROXIMATION).copy_abs()


def single_steps(rel: Rel) -> list[Rel]:
    """A chain as its links, written with ``<`` and ``<=``."""
    steps = []
    for left, right, op in zip(rel.sides, rel.sides[1:], rel.ops, strict=False):
        if op in (">", ">="):
            left, right, op = right, left, FLIPPED[op]
        steps.append(Rel((left, right), (op,)))
    return steps

# Copyright 2026 The verl-htpo authors
# SPDX-License-Identifier: Apache-2.0
"""Countdown: reach a target with + - * / and brackets, every number used once. Exact, bounded by construction."""

import ast
import operator
import re
from collections.abc import Callable, Sequence
from fractions import Fraction

MAX_CHARS = 300
_ALLOWED = re.compile(r"[\d\s()+\-*/]+")
_SPELLINGS = (
    (r"\times", "*"), (r"\cdot", "*"), (r"\div", "/"), ("×", "*"), ("⋅", "*"), ("·", "*"), ("÷", "/"), ("−", "-"),
    (r"\left", ""), (r"\right", ""), (r"\(", ""), (r"\)", ""), (r"\[", ""), (r"\]", ""), ("$", ""),
)  # fmt: skip
_OPERATIONS: dict[type[ast.operator], Callable[[Fraction, Fraction], Fraction]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
}


def solves(answer: str, numbers: Sequence[int], target: int) -> bool | None:
    """Whether an expression uses exactly ``numbers`` and equals ``target``; None when it is no such expression.

    At most ``MAX_CHARS`` characters: integers, the four operations, minus signs and brackets, no powers. A sign reaches
    no positive target that subtraction does not, and stands in answers that reasoning-gym itself gives.
    """
    for spelling, plain in _SPELLINGS:
        answer = answer.replace(spelling, plain)
    answer = " ".join(answer.split())
    if len(answer) > MAX_CHARS or not _ALLOWED.fullmatch(answer) or "**" in answer or "//" in answer:
        return None
    try:
        tree = ast.parse(answer, mode="eval").body
        used: list[int] = []
        value = _value(tree, used)
    except ZeroDivisionError:
        return False
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None
    return sorted(used) == sorted(numbers) and value == target


def _value(node: ast.expr, used: list[int]) -> Fraction:
    if isinstance(node, ast.Constant):
        used.append(node.value)  # type: ignore[arg-type]
        return Fraction(node.value)  # type: ignore[arg-type]
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        return -_value(node.operand, used)
    if not isinstance(node, ast.BinOp):
        raise ValueError("no operation of countdown")
    return _OPERATIONS[type(node.op)](_value(node.left, used), _value(node.right, used))

# Copyright 2026 The verl-htpo authors
# SPDX-License-Identifier: Apache-2.0
"""Sets of real numbers as sorted, merged intervals; a point is a closed interval of length zero."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from fractions import Fraction
from functools import cmp_to_key
from typing import NamedTuple

from recipe.htpo.verifier.numbers import Arithmetic

INFINITY = Decimal("Infinity")
NEGATIVE_INFINITY = INFINITY.copy_negate()
Bound = Fraction | Decimal


class Interval(NamedTuple):
    """From ``low`` to ``high``; a closed end belongs to the interval. Infinite ends are open."""

    low: Bound
    low_closed: bool
    high: Bound
    high_closed: bool


RealSet = list[Interval]
EVERYTHING: RealSet = [Interval(NEGATIVE_INFINITY, False, INFINITY, False)]


def compare_bounds(ops: Arithmetic, left: Bound, right: Bound) -> int:
    """-1, 0 or 1, infinite bounds included."""
    for bound, sign in ((left, 1), (right, -1)):
        if isinstance(bound, Decimal) and bound.is_infinite():
            other = right if sign == 1 else left
            if isinstance(other, Decimal) and other == bound:
                return 0
            return sign if bound > 0 else -sign
    return ops.compare(left, right)


def is_empty(ops: Arithmetic, part: Interval) -> bool:
    """Whether ``part`` holds no number."""
    order = compare_bounds(ops, part.low, part.high)
    return order > 0 or (order == 0 and not (part.low_closed and part.high_closed))


def union(ops: Arithmetic, parts: RealSet) -> RealSet:
    """Sort and merge ``parts``."""

    def order(left: Interval, right: Interval) -> int:
        return compare_bounds(ops, left.low, right.low) or right.low_closed - left.low_closed

    merged: RealSet = []
    for part in sorted((part for part in parts if not is_empty(ops, part)), key=cmp_to_key(order)):
        if merged:
            last = merged[-1]
            touch = compare_bounds(ops, last.high, part.low)
            if touch > 0 or (touch == 0 and (last.high_closed or part.low_closed)):
                reach = compare_bounds(ops, last.high, part.high)
                if reach < 0:
                    merged[-1] = Interval(last.low, last.low_closed, part.high, part.high_closed)
                elif reach == 0:
                    closed = last.high_closed or part.high_closed
                    merged[-1] = Interval(last.low, last.low_closed, last.high, closed)
                continue
        merged.append(part)
    return merged


def intersection(ops: Arithmetic, left: RealSet, right: RealSet) -> RealSet:
    """Numbers in both sets."""
    found = []
    for a in left:
        for b in right:
            low_order = compare_bounds(ops, a.low, b.low)
            high_order = compare_bounds(ops, a.high, b.high)
            low, low_closed = (a.low, a.low_closed) if low_order > 0 else (b.low, b.low_closed)
            high, high_closed = (a.high, a.high_closed) if high_order < 0 else (b.high, b.high_closed)
            if low_order == 0:
                low_closed = a.low_closed and b.low_closed
            if high_order == 0:
                high_closed = a.high_closed and b.high_closed
            found.append(Interval(low, low_closed, high, high_closed))
    return union(ops, found)


def complement(ops: Arithmetic, parts: RealSet) -> RealSet:
    """Real numbers outside ``parts``."""
    found: RealSet = []
    low: Bound = NEGATIVE_INFINITY
    low_closed = False
    for part in union(ops, parts):
        found.append(Interval(low, low_closed, part.low, not part.low_closed))
        low, low_closed = part.high, not part.high_closed
    found.append(Interval(low, low_closed, INFINITY, False))
    return [
        part
        for part in found
        if not is_empty(ops, part)
        and compare_bounds(ops, part.low, INFINITY) < 0 < compare_bounds(ops, part.high, NEGATIVE_INFINITY)
    ]


def difference(ops: Arithmetic, left: RealSet, right: RealSet) -> RealSet:
    """Numbers in ``left`` and not in ``right``."""
    return intersection(ops, left, complement(ops, right))


SET_OPERATIONS: dict[str, Callable[[Arithmetic, RealSet, RealSet], RealSet]] = {
    "cup": lambda ops, left, right: union(ops, left + right),
    "cap": intersection,
    "setminus": difference,
}


def sets_equal(ops: Arithmetic, left: RealSet, right: RealSet) -> bool:
    """Whether two sets hold the same numbers."""
    a, b = union(ops, left), union(ops, right)
    return len(a) == len(b) and all(
        compare_bounds(ops, p.low, q.low) == 0
        and compare_bounds(ops, p.high, q.high) == 0
        and p.low_closed == q.low_closed
        and p.high_closed == q.high_closed
        for p, q in zip(a, b, strict=True)
    )

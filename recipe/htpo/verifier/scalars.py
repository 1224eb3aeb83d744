# Copyright 2026 The verl-htpo authors
# SPDX-License-Identifier: Apache-2.0
"""Equality of scalars: exact where both sides are rational, else to 40 digits; names take fixed sample values."""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal
from fractions import Fraction

from recipe.htpo.verifier.config import VerifierConfig
from recipe.htpo.verifier.errors import OverLimit, Undefined
from recipe.htpo.verifier.evaluate import PLAIN, Reading, Sampling, evaluate, readings, sample_points, sampling
from recipe.htpo.verifier.nodes import Based, Name, Node, Num, Op, Quantity, variables, walk
from recipe.htpo.verifier.numbers import CONTEXT, ZERO, Arithmetic, Complex, Number
from recipe.htpo.verifier.opposites import contradict
from recipe.htpo.verifier.units import Unit, is_temperature

_PLAIN_UNIT = Unit()
_CALL_WORK = 4.0
LINE_POINTS = 1_000_000
"""Index of the first point of :meth:`Scalars.line`, beyond those of every sampling."""


class Scalars:
    """Scalar comparisons of one verdict: they share the work limit and the values that were computed."""

    def __init__(self, config: VerifierConfig) -> None:
        self.config = config
        self.ops = Arithmetic(config)
        self._values: dict[tuple[int, int, Reading], tuple[Node, Number | None, Decimal]] = {}
        self._points: dict[Sampling, tuple[int, list[dict[str, Number]]]] = {}

    def value(
        self, node: Node, point: dict[str, Number], index: int, reading: Reading
    ) -> tuple[Number | None, Decimal]:
        """Value and scale of ``node`` at the point with this index, or None where it is undefined there."""
        key = (id(node), index, reading)
        known = self._values.get(key)
        if known is None:
            self.ops.scale = ZERO
            try:
                number: Number | None = evaluate(node, point, self.ops, reading)
            except Undefined:
                number = None
            except OverLimit:
                # At one sample point a power may grow too large; a constant that does is over the limit.
                if not point or self.ops.work > self.ops.MOST_WORK:
                    raise
                number = None
            known = self._values[key] = (node, number, self.ops.scale)
        return known[1], known[2]

    def constant(self, node: Node) -> Number | None:
        """The value of a tree without names, or None."""
        if variables(node):
            return None
        return self.value(node, {}, -1, PLAIN)[0]

    def real_constant(self, node: Node) -> Fraction | Decimal | None:
        """The value of a real tree without names, or None."""
        value = self.constant(node)
        return None if isinstance(value, Complex) else value

    def equal(self, left: Node, right: Node) -> bool:
        """Whether two scalars, with their units, are the same."""
        self.ops.spend(_CALL_WORK)
        left, left_unit = split_unit(left)
        right, right_unit = split_unit(right)
        ratio = self._unit_ratio(left_unit, right_unit)
        if ratio is None or not _marks_agree(left, left_unit, right, right_unit):
            return False
        if ratio != 1:
            left = Op("mul", (left, Num(ratio)))
        if isinstance(left, Based) or isinstance(right, Based):
            return self._based_equal(left, right)
        infinite = (infinity_sign(left), infinity_sign(right))
        if infinite != (0, 0):
            return infinite[0] == infinite[1]
        names = variables(left) | variables(right)
        for reading in readings((left, right), self.config.percent_either, self.config.degrees_as_radians):
            if names:
                if self._equal_at_points(left, right, names, reading):
                    return True
            elif self._equal_at(left, right, {}, -1, reading):
                return True
        return False

    def _unit_ratio(self, left: Unit, right: Unit) -> Fraction | None:
        """The factor that takes ``left`` to the unit of ``right``, or None where the units contradict."""
        if left.words or right.words:
            if self.config.ignore_unknown_units:
                return None if contradict(left, right) else Fraction(1)
            return Fraction(1) if left == right else None
        if not left.dimensions or not right.dimensions:
            return Fraction(1)
        return left.size / right.size if left.dimensions == right.dimensions else None

    def _based_equal(self, left: Node, right: Node) -> bool:
        if isinstance(left, Based) and isinstance(right, Based):
            return left == right
        based, plain = (left, right) if isinstance(left, Based) else (right, left)
        assert isinstance(based, Based)
        return self.config.base_optional and isinstance(plain, Num) and plain.text.lstrip("0") == based.digits

    def _equal_at(self, left: Node, right: Node, point: dict[str, Number], index: int, reading: Reading) -> bool:
        a, left_scale = self.value(left, point, index, reading)
        b, right_scale = self.value(right, point, index, reading)
        if a is None or b is None:
            return False
        self.ops.scale = max(left_scale, right_scale)
        if self.ops.equal(a, b):
            return _is_short(a) or _is_short(b) or isinstance(a, Fraction) == isinstance(b, Fraction)
        tolerance = self.config.decimal_rel_tol
        if tolerance and (_is_decimal(left) or _is_decimal(right)):
            if isinstance(a, Complex) or isinstance(b, Complex):
                return False
            x, y = self.ops.real(a), self.ops.real(b)
            size = max(x.copy_abs(), y.copy_abs())
            return CONTEXT.subtract(x, y).copy_abs() <= CONTEXT.multiply(Decimal(tolerance), size)
        return False

    def _equal_at_points(self, left: Node, right: Node, names: set[str], reading: Reading) -> bool:
        """Equality wherever both sides are defined, and real unless one of them names ``i``."""
        imaginary = any(part == Name("i") for node in (left, right) for part in walk(node))
        defined = 0
        for index, point in self._sample(names, (left, right)):
            b, right_scale = self.value(right, point, index, reading)  # the ground truth, as a rule the shorter side
            if b is None:
                continue
            a, left_scale = self.value(left, point, index, reading)
            if a is None:
                continue
            if not imaginary and (isinstance(a, Complex) or isinstance(b, Complex)):
                continue
            self.ops.scale = max(left_scale, right_scale)
            if not self.ops.equal(a, b):
                return False
            defined += 1
        return defined >= 2

    def _sample(self, names: set[str], nodes: tuple[Node, Node]) -> Iterator[tuple[int, dict[str, Number]]]:
        """The sample points with an index that no other sampling uses."""
        kind = sampling(names, nodes)
        if kind not in self._points:
            self._points[kind] = (100 * len(self._points), sample_points(kind))
        base, points = self._points[kind]
        return enumerate(points, base)

    def line(self, left: Node, right: Node) -> tuple[Fraction | Decimal, Fraction | Decimal] | None:
        """Slope and root of ``left - right`` where it is a line in its only name, else None."""
        names = variables(left) | variables(right)
        if len(names) != 1:
            return None
        (name,) = names
        difference = Op("add", (left, Op("neg", (right,))))
        values: list[Fraction | Decimal] = []
        for index, at in enumerate((0, 1, 2, -5), LINE_POINTS):
            value = self.value(difference, {name: Fraction(at)}, index, PLAIN)[0]
            if value is None or isinstance(value, Complex):
                return None
            values.append(value)
        start = values[0]
        slope = self.ops.add(values[1], self.ops.negate(start))
        if isinstance(slope, Complex) or self.ops.is_zero(slope):
            return None
        for at, value in ((2, values[2]), (-5, values[3])):
            if not self.ops.equal(self.ops.add(start, self.ops.multiply(Fraction(at), slope)), value):
                return None
        root = self.ops.divide(self.ops.negate(start), slope)
        return None if isinstance(root, Complex) else (slope, root)

    def proportional(self, left: tuple[Node, Node], right: tuple[Node, Node]) -> int:
        """Sign of the constant ratio of ``left[0] - left[1]`` to ``right[0] - right[1]``, or 0 where it is none.

        Two equations with such a ratio have the same solutions; two inequalities need a positive one.
        """
        a, b = (Op("add", (pair[0], Op("neg", (pair[1],)))) for pair in (left, right))
        names = variables(a) | variables(b)
        ratio: Number | None = None
        defined = 0
        for index, point in self._sample(names, (a, b)) if names else ():
            x, x_scale = self.value(a, point, index, PLAIN)
            y, y_scale = self.value(b, point, index, PLAIN)
            if x is None or y is None:
                continue
            self.ops.scale = max(x_scale, y_scale)
            if self.ops.is_zero(x) or self.ops.is_zero(y):
                return 0
            quotient = self.ops.divide(x, y)
            if ratio is None:
                ratio = quotient
            elif not self.ops.equal(quotient, ratio):
                return 0
            defined += 1
        if ratio is None or defined < 2 or isinstance(ratio, Complex):
            return 0
        return 1 if ratio > 0 else -1


def split_unit(node: Node) -> tuple[Node, Unit]:
    """The bare value and the unit of ``node``."""
    match node:
        case Quantity(value=value, unit=unit):
            return value, unit
        case Op(name="neg", args=(Quantity(value=value, unit=unit),)):
            return Op("neg", (value,)), unit
        case _:
            return node, _PLAIN_UNIT


def _marks_agree(left: Node, left_unit: Unit, right: Node, right_unit: Unit) -> bool:
    """A percent or degree sign goes with no other unit and not with the other sign; degrees may be of a temperature."""
    left_mark, right_mark = _mark(left), _mark(right)
    for mark, unit in ((left_mark, right_unit), (right_mark, left_unit)):
        if mark and unit.dimensions and not (mark == "degree" and is_temperature(unit)):
            return False
    return not left_mark or not right_mark or left_mark == right_mark


def _mark(node: Node) -> str:
    """``percent`` or ``degree`` where a value carries that sign, else the empty string."""
    if isinstance(node, Op) and node.name == "neg":
        node = node.args[0]
    return node.name if isinstance(node, Op) and node.name in ("percent", "degree") else ""


def infinity_sign(node: Node) -> int:
    """1 or -1 for plus or minus infinity, else 0."""
    match node:
        case Name(name="infty"):
            return 1
        case Op(name="neg", args=(Name(name="infty"),)):
            return -1
        case _:
            return 0


def _is_short(value: Number) -> bool:
    """Whether a rational number is too short to come within 40 digits of an irrational one: a decimal with dozens of
    right digits is still no root of two."""
    return isinstance(value, Fraction) and value.numerator.bit_length() + value.denominator.bit_length() <= 100


def _is_decimal(node: Node) -> bool:
    while isinstance(node, Op) and node.name in ("neg", "percent", "degree"):
        node = node.args[0]
    if isinstance(node, Op) and node.name == "mul":
        node = node.args[0]
    return isinstance(node, Num) and ("." in node.text or "e" in node.text.lower())

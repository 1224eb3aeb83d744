# Copyright 2026 The verl-htpo authors
# SPDX-License-Identifier: Apache-2.0
"""The value of a scalar tree at a point, and the fixed points at which trees with names are compared."""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from decimal import Decimal
from fractions import Fraction

from recipe.htpo.verifier.errors import Undefined
from recipe.htpo.verifier.functions import BINARY, UNARY, logarithm, whole_function
from recipe.htpo.verifier.nodes import Based, Name, Node, Num, Op, Quantity, walk
from recipe.htpo.verifier.numbers import CONTEXT, ONE, PI, ZERO, Arithmetic, Complex, E, Number
from recipe.htpo.verifier.vocabulary import TRIGONOMETRIC

_TEN = Fraction(10)
_HUNDRED = Fraction(100)
_DISCRETE = frozenset({"factorial", "binom", "mod", "gcd", "lcm"})
_ROUNDING = frozenset({"floor", "ceil"})
_COUNTING_NAMES = frozenset("ijklmnpqrKLMN")
_SIGNED_NAMES = frozenset("xyz")
_RANGES = ((1, 2), (0, 1), (3, 8), (1, 3), (1, 1))
"""Lowest value and width of the real sample points."""
_JUMPS = (*range(1, 21), 24, 25, 26, 27, 28, 35, 36, 37, 48, 49, 50, 63, 64, 65, 80, 81, 99, 100, 101, 125)
_EDGE_POINTS = 36
_INTEGERS = (7, 12, 4, 9, 11, 6, 15, 8, 13, 5, 10, 14)


@dataclass(frozen=True, slots=True)
class Reading:
    """How ambiguous notation is meant: ``%`` as a hundredth or as decoration, degrees as pi/180 or as decoration, a
    logarithm without a base as natural or decimal."""

    percent_is_hundredth: bool = True
    degree_is_angle: bool = False
    log_is_decimal: bool = False


PLAIN = Reading()


def readings(nodes: Iterable[Node], percent_either: bool, degrees_as_radians: bool) -> list[Reading]:
    """Every reading under which ``nodes`` may be compared, the plain one first."""
    used = {part.name for node in nodes for part in walk(node) if isinstance(part, Op)}
    found = [PLAIN]
    if "percent" in used and percent_either:
        found += [replace(reading, percent_is_hundredth=False) for reading in found]
    if "degree" in used and degrees_as_radians:
        found += [replace(reading, degree_is_angle=True) for reading in found]
    if "log" in used:
        found += [replace(reading, log_is_decimal=True) for reading in found]
    return found


def evaluate(node: Node, point: Mapping[str, Number], ops: Arithmetic, reading: Reading) -> Number:
    """The value of ``node``; raises ``Undefined`` where it has none and ``OverLimit`` where it costs too much."""
    match node:
        case Num(value=value):
            return ops.check(value)
        case Name(name=name):
            return _name(name, point)
        case Op(name="add", args=args):
            total = evaluate(args[0], point, ops, reading)
            for arg in args[1:]:
                total = ops.add(total, evaluate(arg, point, ops, reading))
            return total
        case Op(name="mul", args=args):
            product = evaluate(args[0], point, ops, reading)
            for arg in args[1:]:
                product = ops.multiply(product, evaluate(arg, point, ops, reading))
            return product
        case Op(name="neg", args=(arg,)):
            return ops.negate(evaluate(arg, point, ops, reading))
        case Op(name=name, args=args):
            return _function(name, args, point, ops, reading)
        case Based(digits=digits, base=base):
            return based_value(digits, base)
        case Quantity(value=inner):
            return evaluate(inner, point, ops, reading)
        case _:
            raise Undefined("no scalar")


def _name(name: str, point: Mapping[str, Number]) -> Number:
    if name in point:
        return point[name]
    if name == "pi":
        return CONTEXT.plus(PI)
    if name == "e":
        return CONTEXT.plus(E)
    if name == "i":
        return Complex(ZERO, ONE)
    raise Undefined(name)


def _function(
    name: str, args: tuple[Node, ...], point: Mapping[str, Number], ops: Arithmetic, reading: Reading
) -> Number:
    if name in TRIGONOMETRIC and not reading.degree_is_angle:
        reading = replace(reading, degree_is_angle=True)
    values = [evaluate(arg, point, ops, reading) for arg in args]
    if name == "percent":
        return ops.divide(values[0], _HUNDRED) if reading.percent_is_hundredth else values[0]
    if name == "degree":
        return (
            ops.divide(ops.multiply(values[0], CONTEXT.plus(PI)), Fraction(180))
            if reading.degree_is_angle
            else values[0]
        )
    if name == "log":
        natural = logarithm(ops, values[0])
        if not reading.log_is_decimal:
            return natural
        power = _power_of_ten(values[0])
        return Fraction(power) if power is not None else ops.divide(natural, logarithm(ops, _TEN))
    if name in UNARY and len(values) == 1:
        return UNARY[name](ops, values[0])
    if name in BINARY and len(values) == 2:
        return BINARY[name](ops, values[0], values[1])
    if name in ("gcd", "lcm", "max", "min"):
        return whole_function(ops, name, values)
    raise Undefined(name)


def _power_of_ten(value: Number) -> int | None:
    if not isinstance(value, Fraction) or value <= 0 or value.numerator.bit_length() > 4_000:
        return None
    digits = len(str(value.numerator)) - 1
    return digits if value == 10**digits else None


def based_value(digits: str, base: int) -> Fraction:
    """The value of ``digits`` in ``base``; raises ``Undefined`` for a digit that the base does not have."""
    if len(digits) > 300 or any(int(digit) >= base for digit in digits):
        raise Undefined("digit outside the base")
    return Fraction(int(digits, base))


@dataclass(frozen=True, slots=True)
class Sampling:
    """Where trees with names are compared: at integers when they count, at both signs when signs matter."""

    names: frozenset[str]
    integers: bool
    every_sign: bool
    rounding: bool


def sampling(names: set[str], nodes: Iterable[Node]) -> Sampling:
    """The sampling that ``nodes`` ask for."""
    used = {part.name for node in nodes for part in walk(node) if isinstance(part, Op)}
    counting = all(name[0] in _COUNTING_NAMES for name in names)
    integers = not used.isdisjoint(_DISCRETE) or (counting and not used.isdisjoint(_ROUNDING))
    return Sampling(frozenset(names), integers, "abs" in used, not used.isdisjoint(_ROUNDING))


def sample_points(kind: Sampling) -> list[dict[str, Number]]:
    """Fixed points that depend on the names alone.

    ``x``, ``y`` and ``z`` take both signs. Other names stand for lengths, counts and constants and are positive, unless
    an absolute value says that signs matter. Counting functions are compared at integers, and so is rounding of the
    letters that count (``n``, ``k``).
    """
    integers = [_integer_point(kind.names, index) for index in range(len(_INTEGERS) // 2)]
    if kind.rounding:
        integers += _edges(kind.names)
    if kind.integers:
        return integers
    if kind.rounding:
        integers += [
            {name: value + Fraction(1, 3) for name, value in point.items() if isinstance(value, Fraction)}
            for point in integers[:12]
        ]
        return [_real_point(kind.names, index, kind.every_sign) for index in range(len(_RANGES))] + integers
    return [_real_point(kind.names, index, kind.every_sign) for index in range(len(_RANGES))] + integers[:4]


def _edges(names: frozenset[str]) -> list[dict[str, Number]]:
    """Where rounding jumps: small integers, squares and cubes and their neighbours; with several names, quotients that
    are whole and just not."""
    ordered = sorted(names)
    if len(ordered) == 1:
        return [{ordered[0]: Fraction(value)} for value in _JUMPS]
    points: list[dict[str, Number]] = []
    for index in range(_EDGE_POINTS):
        factor = index % 6 + 1
        point: dict[str, Number] = {}
        for place, name in enumerate(ordered):
            base = (index // 6 + 2 * place) % 5 + 1
            point[name] = Fraction(base * factor if place == index % len(ordered) else base)
        points.append(point)
    return points


def _hash(name: str, index: int) -> int:
    return zlib.crc32(f"{index}:{name}".encode())


def _integer_point(names: frozenset[str], index: int) -> dict[str, Number]:
    return {name: Fraction(_INTEGERS[(index + _hash(name, 0)) % len(_INTEGERS)] + index) for name in names}


def _real_point(names: frozenset[str], index: int, every_sign: bool) -> dict[str, Number]:
    """Names that may be negative are negative at point 3 and of mixed sign at point 4."""
    point: dict[str, Number] = {}
    for name in names:
        share = _hash(name, index) % 999_983 + 7
        low, width = _RANGES[index]
        value = Decimal(low * 1_000_000 + width * share).scaleb(-6, CONTEXT)
        signed = every_sign or name.rstrip("0123456789_'") in _SIGNED_NAMES
        if signed and (index == 3 or (index == 4 and _hash(name, 9) % 2)):
            value = value.copy_negate()
        point[name] = value
    return point

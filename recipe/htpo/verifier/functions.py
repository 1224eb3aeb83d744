# Copyright 2026 The verl-htpo authors
# SPDX-License-Identifier: Apache-2.0
"""Elementary functions on exact and on 60-digit numbers: powers, roots, logarithms, trigonometry, counting."""

from __future__ import annotations

import math
from collections.abc import Callable
from decimal import Decimal
from fractions import Fraction
from typing import Any

from mpmath import libmp

from recipe.htpo.verifier.errors import OverLimit, Undefined
from recipe.htpo.verifier.numbers import CONTEXT, ONE, PI, TWO, ZERO, Arithmetic, Complex, Number

FUNCTION_WORK = 40.0
# mpmath's functions of numbers, which unlike its contexts have no state: 72 digits.
_BITS = 240
_TEN = libmp.from_int(10)
_LARGEST_ANGLE = Decimal("1e15")


def power(ops: Arithmetic, base: Number, exponent: Number) -> Number:
    """``base ** exponent``: exact for rational powers that are rational, principal otherwise."""
    if isinstance(exponent, Fraction) and exponent.denominator == 1:
        return _integer_power(ops, base, exponent.numerator)
    if isinstance(exponent, Fraction) and isinstance(base, Fraction) and base >= 0:
        exact = _exact_root(base, exponent.denominator)
        if exact is not None:
            return _integer_power(ops, exact, exponent.numerator)
    if isinstance(exponent, Fraction) and not isinstance(base, Complex) and base < 0 and exponent.denominator % 2 == 1:
        positive = power(ops, ops.negate(base), exponent)
        return ops.negate(positive) if exponent.numerator % 2 else positive
    if ops.is_zero(base):
        re, _ = ops.parts(exponent)
        if re <= 0:
            raise Undefined("zero to a power that is not positive")
        return Fraction(0)
    return exponential(ops, ops.multiply(exponent, logarithm(ops, base)))


def _integer_power(ops: Arithmetic, base: Number, exponent: int) -> Number:
    if exponent < 0:
        return _integer_power(ops, ops.divide(Fraction(1), base), -exponent)
    if isinstance(base, Fraction):
        if base in (0, 1, -1):
            return base if exponent % 2 or base != -1 else Fraction(1)
        bits = max(base.numerator.bit_length(), base.denominator.bit_length()) * exponent
        if exponent > ops.config.max_exponent or bits > ops.config.max_bits:
            raise OverLimit("exponent")
        return ops.check(base**exponent)
    if exponent > ops.config.max_exponent:
        raise OverLimit("exponent")
    result: Number = Fraction(1)
    while exponent:
        if exponent & 1:
            result = ops.multiply(result, base)
        exponent >>= 1
        if exponent:
            base = ops.multiply(base, base)
    return result


def _exact_root(value: Fraction, degree: int) -> Fraction | None:
    """The rational ``degree``-th root of a nonnegative fraction, or None."""
    if degree > 64 or value.numerator.bit_length() + value.denominator.bit_length() > 4_000:
        return None
    top, bottom = _integer_root(value.numerator, degree), _integer_root(value.denominator, degree)
    return None if top is None or bottom is None else Fraction(top, bottom)


def _integer_root(value: int, degree: int) -> int | None:
    if degree == 2:
        root = math.isqrt(value)
    else:
        root = 1 << -(-value.bit_length() // degree)
        while value and (better := ((degree - 1) * root + value // root ** (degree - 1)) // degree) < root:
            root = better
        root = root if value else 0
    return root if root**degree == value else None


def root(ops: Arithmetic, value: Number, degree: Number) -> Number:
    """``\\sqrt[degree]{value}``; an odd root of a negative number is real."""
    if not isinstance(degree, Fraction) or degree.denominator != 1 or degree == 0:
        return power(ops, value, ops.divide(Fraction(1), degree))
    if abs(degree) > ops.config.max_exponent:
        raise OverLimit("root")
    if degree == 2 and not isinstance(value, Complex):
        if isinstance(value, Fraction) and (exact := _exact_root(abs(value), 2)) is not None:
            return exact if value >= 0 else Complex(ZERO, ops.real(exact))
        ops.spend(2)
        result = CONTEXT.sqrt(ops.real(value).copy_abs())
        return result if value >= 0 else ops.make(ZERO, result)
    return power(ops, value, 1 / degree)


def exponential(ops: Arithmetic, value: Number) -> Number:
    """``e ** value``."""
    ops.spend(FUNCTION_WORK)
    re, im = ops.parts(value)
    if re.copy_abs() > 1_000_000:
        raise OverLimit("exponential")
    size = _decimal(libmp.mpf_exp(_binary(re), _BITS, "n"))
    if not im:
        return ops.make(size, ZERO)
    sine, cosine = _sine_cosine(ops, im)
    return ops.make(CONTEXT.multiply(size, cosine), CONTEXT.multiply(size, sine))


def logarithm(ops: Arithmetic, value: Number) -> Number:
    """The natural logarithm, principal for negative and complex numbers."""
    ops.spend(FUNCTION_WORK)
    if ops.is_zero(value):
        raise Undefined("logarithm of zero")
    if value == 1:
        return Fraction(0)
    re, im = ops.parts(value)
    if not im:
        result = _natural_logarithm(re.copy_abs())
        return result if re > 0 else ops.make(result, PI)
    norm = CONTEXT.add(CONTEXT.multiply(re, re), CONTEXT.multiply(im, im))
    return ops.make(CONTEXT.divide(_natural_logarithm(norm), TWO), _angle(ops, re, im))


def _sine_cosine(ops: Arithmetic, angle: Decimal) -> tuple[Decimal, Decimal]:
    ops.spend(FUNCTION_WORK)
    if angle.copy_abs() > _LARGEST_ANGLE:
        raise OverLimit("angle")
    ops.note(ONE)
    cosine, sine = libmp.mpf_cos_sin(_binary(angle), _BITS, "n")
    return _decimal(sine), _decimal(cosine)


def _arctangent(ops: Arithmetic, value: Decimal) -> Decimal:
    ops.spend(FUNCTION_WORK)
    ops.note(ONE)
    return _decimal(libmp.mpf_atan(_binary(value), _BITS, "n"))


def _natural_logarithm(value: Decimal) -> Decimal:
    return _decimal(libmp.mpf_log(_binary(value), _BITS, "n"))


def _binary(value: Decimal) -> Any:
    """mpmath's number for a decimal, whatever its exponent."""
    if not value.is_finite():
        raise Undefined("overflow")
    exponent = int(value.as_tuple().exponent)
    digits = libmp.from_int(int(CONTEXT.scaleb(value, -exponent)))
    return libmp.mpf_mul(digits, libmp.mpf_pow_int(_TEN, exponent, _BITS), _BITS, "n")


def _decimal(value: Any) -> Decimal:
    sign, digits, exponent, _ = value
    return CONTEXT.multiply(Decimal(-digits if sign else digits), CONTEXT.power(TWO, Decimal(exponent)))


def _angle(ops: Arithmetic, re: Decimal, im: Decimal) -> Decimal:
    if not re:
        return CONTEXT.divide(PI if im > 0 else PI.copy_negate(), TWO)
    angle = _arctangent(ops, CONTEXT.divide(im, re))
    if re > 0:
        return angle
    return CONTEXT.add(angle, PI) if im >= 0 else CONTEXT.subtract(angle, PI)


def _need_real(ops: Arithmetic, value: Number) -> Decimal:
    re, im = ops.parts(value)
    if im:
        raise Undefined("a real argument is needed")
    return re


def _sine(ops: Arithmetic, value: Number) -> Number:
    return Fraction(0) if value == 0 else _trigonometric(ops, value)[0]


def _cosine(ops: Arithmetic, value: Number) -> Number:
    return Fraction(1) if value == 0 else _trigonometric(ops, value)[1]


def _trigonometric(ops: Arithmetic, value: Number) -> tuple[Number, Number]:
    if not isinstance(value, Complex):
        return _sine_cosine(ops, ops.real(value))
    up = exponential(ops, Complex(value.im.copy_negate(), value.re))
    down = ops.divide(Fraction(1), up)
    sine = ops.divide(ops.add(up, ops.negate(down)), Complex(ZERO, TWO))
    return sine, ops.divide(ops.add(up, down), Fraction(2))


def _arcsine(ops: Arithmetic, value: Number) -> Number:
    if value == 0:
        return Fraction(0)
    x = _need_real(ops, value)
    rest = CONTEXT.subtract(ONE, CONTEXT.multiply(x, x))
    if rest < 0:
        raise Undefined("arc sine")
    return _angle(ops, CONTEXT.sqrt(rest), x)


def _arccosine(ops: Arithmetic, value: Number) -> Number:
    return ops.add(CONTEXT.divide(PI, TWO), ops.negate(_arcsine(ops, value)))


def _arctan(ops: Arithmetic, value: Number) -> Number:
    return Fraction(0) if value == 0 else _arctangent(ops, _need_real(ops, value))


def _hyperbolic_sine(ops: Arithmetic, value: Number) -> Number:
    up = exponential(ops, value)
    return ops.divide(ops.add(up, ops.negate(ops.divide(Fraction(1), up))), Fraction(2))


def _hyperbolic_cosine(ops: Arithmetic, value: Number) -> Number:
    up = exponential(ops, value)
    return ops.divide(ops.add(up, ops.divide(Fraction(1), up)), Fraction(2))


def absolute(ops: Arithmetic, value: Number) -> Number:
    """``|value|``."""
    if not isinstance(value, Complex):
        return value.copy_abs() if isinstance(value, Decimal) else abs(value)
    return CONTEXT.sqrt(CONTEXT.add(CONTEXT.multiply(value.re, value.re), CONTEXT.multiply(value.im, value.im)))


def _floor(ops: Arithmetic, value: Number) -> Number:
    """Floor; a 60-digit number within rounding of an integer is that integer."""
    if isinstance(value, Fraction):
        return Fraction(math.floor(value))
    x = _need_real(ops, value)
    if x.copy_abs() > _LARGEST_ANGLE:
        raise OverLimit("floor")
    nearest = int(CONTEXT.to_integral_value(x))
    if ops.equal(x, Fraction(nearest)):
        return Fraction(nearest)
    return Fraction(math.floor(x))


def _ceiling(ops: Arithmetic, value: Number) -> Number:
    return ops.negate(_floor(ops, ops.negate(value)))


def _whole(value: Number) -> int:
    if not isinstance(value, Fraction) or value.denominator != 1:
        raise Undefined("an integer is needed")
    return value.numerator


def factorial(ops: Arithmetic, value: Number) -> Number:
    """``value!`` of an integer within ``max_factorial``."""
    number = _whole(value)
    if number < 0:
        raise Undefined("factorial of a negative number")
    if number > ops.config.max_factorial:
        raise OverLimit("factorial")
    return ops.check(Fraction(math.factorial(number)))


def binomial(ops: Arithmetic, over: Number, under: Number) -> Number:
    """``over`` choose ``under`` for integers within ``max_factorial``."""
    n, k = _whole(over), _whole(under)
    if n < 0 or k < 0:
        raise Undefined("binomial of a negative number")
    if n > ops.config.max_factorial:
        raise OverLimit("binomial")
    return ops.check(Fraction(math.comb(n, k)))


def _modulo(ops: Arithmetic, value: Number, modulus: Number) -> Number:
    if _whole(modulus) == 0:
        raise Undefined("modulo zero")
    return Fraction(_whole(value) % _whole(modulus))


UNARY: dict[str, Callable[[Arithmetic, Number], Number]] = {
    "sin": _sine,
    "cos": _cosine,
    "tan": lambda ops, x: ops.divide(*_trigonometric(ops, x)),
    "cot": lambda ops, x: ops.divide(*_trigonometric(ops, x)[::-1]),
    "sec": lambda ops, x: ops.divide(Fraction(1), _cosine(ops, x)),
    "csc": lambda ops, x: ops.divide(Fraction(1), _sine(ops, x)),
    "asin": _arcsine,
    "acos": _arccosine,
    "atan": _arctan,
    "sinh": _hyperbolic_sine,
    "cosh": _hyperbolic_cosine,
    "tanh": lambda ops, x: ops.divide(_hyperbolic_sine(ops, x), _hyperbolic_cosine(ops, x)),
    "ln": logarithm,
    "abs": absolute,
    "floor": _floor,
    "ceil": _ceiling,
    "factorial": factorial,
}
BINARY: dict[str, Callable[[Arithmetic, Number, Number], Number]] = {
    "pow": power,
    "root": root,
    "div": lambda ops, a, b: ops.divide(a, b),
    "mixed": lambda ops, a, b: ops.add(a, b),
    "binom": binomial,
    "mod": _modulo,
}
VARIADIC: dict[str, Callable[..., int]] = {"gcd": math.gcd, "lcm": math.lcm}


def whole_function(ops: Arithmetic, name: str, values: list[Number]) -> Number:
    """``gcd``, ``lcm``, ``max`` and ``min`` of real numbers."""
    if name in VARIADIC:
        return ops.check(Fraction(VARIADIC[name](*map(_whole, values))))
    best = values[0]
    for value in values[1:]:
        if isinstance(value, Complex) or isinstance(best, Complex):
            raise Undefined("order of complex numbers")
        order = ops.compare(value, best)
        if (order > 0) == (name == "max") and order:
            best = value
    return best

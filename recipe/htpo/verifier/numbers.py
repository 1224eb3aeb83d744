# Copyright 2026 The verl-htpo authors
# SPDX-License-Identifier: Apache-2.0
"""Arithmetic on exact and on 60-digit numbers, with a bound on the work of one verdict.

A number is a ``Fraction`` (exact), a ``Decimal`` (a real number to 60 digits) or a ``Complex`` of two decimals. Exact
stays exact where the operation allows it and the result fits ``max_bits``. Sixty digits leave room for cancellation:
two numbers are equal when they agree to 40 digits of the largest term that was added on the way, so rounding never
makes equal values differ and no decimal that a model can guess equals an irrational number.
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import MAX_EMAX, MIN_EMIN, Context, Decimal
from fractions import Fraction

from recipe.htpo.verifier.config import VerifierConfig
from recipe.htpo.verifier.errors import OverLimit, Undefined

DIGITS = 60
CONTEXT = Context(prec=DIGITS, Emin=-(10**6), Emax=10**6, traps=[])
TOLERANCE = Decimal("1e-40")
# Only this context may touch a decimal: operators such as + and abs() round to the calling thread's own context.
ZERO, ONE, TWO = Decimal(0), Decimal(1), Decimal(2)
PI = Decimal("3.14159265358979323846264338327950288419716939937510582097494459230781640628620899862803482534211706798")
E = Decimal("2.71828182845904523536028747135266249775724709369995957496696762772407663035354759457138217852516642743")
assert MAX_EMAX >= CONTEXT.Emax and MIN_EMIN <= CONTEXT.Emin


@dataclass(frozen=True, slots=True)
class Complex:
    """A complex number with a nonzero imaginary part."""

    re: Decimal
    im: Decimal


Number = Fraction | Decimal | Complex


class Arithmetic:
    """Operations that count their work and remember the largest term (``scale``), for one evaluation."""

    MOST_WORK = 8_000.0
    """Work of one verdict, two to three microseconds each; the hardest of 1,833 labelled cases takes 970."""

    def __init__(self, config: VerifierConfig) -> None:
        self.config = config
        self.work = 0.0
        self.scale = ZERO

    def spend(self, work: float) -> None:
        """Count work; raise ``OverLimit`` when one verdict has used it all."""
        self.work += work
        if self.work > self.MOST_WORK:
            raise OverLimit("work")

    def check(self, value: Fraction) -> Fraction:
        """Refuse exact numbers that grow too long, and count the cost of what made them."""
        bits = value.numerator.bit_length() + value.denominator.bit_length()
        self.spend(0.5 + (bits / 1500) ** 2)
        if bits > 2 * self.config.max_bits:
            raise OverLimit("bits")
        return value

    def real(self, value: Fraction | Decimal) -> Decimal:
        """A real number to 60 digits."""
        if isinstance(value, Fraction):
            self.spend(1)
            return CONTEXT.divide(Decimal(value.numerator), Decimal(value.denominator))
        return value

    def parts(self, value: Number) -> tuple[Decimal, Decimal]:
        """Real and imaginary part."""
        return (value.re, value.im) if isinstance(value, Complex) else (self.real(value), ZERO)

    def make(self, re: Decimal, im: Decimal) -> Decimal | Complex:
        """A complex number, or a real one where the imaginary part is rounding."""
        if not (re.is_finite() and im.is_finite()):
            raise Undefined("overflow")
        if not im or im.copy_abs() <= CONTEXT.multiply(TOLERANCE, max(re.copy_abs(), self.scale)):
            return re
        return Complex(re, im)

    def note(self, *terms: Decimal) -> None:
        """Remember the size of terms that are added: their rounding outlives a cancellation."""
        for term in terms:
            size = term.copy_abs()
            if size > self.scale:
                self.scale = size

    def add(self, left: Number, right: Number) -> Number:
        """``left + right``."""
        if isinstance(left, Fraction) and isinstance(right, Fraction):
            return self.check(left + right)
        self.spend(1)
        (a, b), (c, d) = self.parts(left), self.parts(right)
        self.note(a, b, c, d)
        return self.make(CONTEXT.add(a, c), CONTEXT.add(b, d))

    def negate(self, value: Number) -> Number:
        """``-value``."""
        if isinstance(value, Complex):
            return Complex(value.re.copy_negate(), value.im.copy_negate())
        return value.copy_negate() if isinstance(value, Decimal) else -value

    def multiply(self, left: Number, right: Number) -> Number:
        """``left * right``."""
        if isinstance(left, Fraction) and isinstance(right, Fraction):
            return self.check(left * right)
        self.spend(1)
        (a, b), (c, d) = self.parts(left), self.parts(right)
        if not b and not d:
            return self.make(CONTEXT.multiply(a, c), ZERO)
        ac, bd, ad, bc = (CONTEXT.multiply(x, y) for x, y in ((a, c), (b, d), (a, d), (b, c)))
        return self.make(CONTEXT.subtract(ac, bd), CONTEXT.add(ad, bc))

    def divide(self, left: Number, right: Number) -> Number:
        """``left / right``; a zero, or what rounding leaves of one, raises ``Undefined``."""
        if self.is_zero(right):
            raise Undefined("division by zero")
        if isinstance(right, Fraction):
            return self.multiply(left, 1 / right)
        c, d = self.parts(right)
        if not d:
            return self.multiply(left, CONTEXT.divide(ONE, c))
        norm = CONTEXT.add(CONTEXT.multiply(c, c), CONTEXT.multiply(d, d))
        return self.multiply(left, Complex(CONTEXT.divide(c, norm), CONTEXT.divide(d.copy_negate(), norm)))

    def is_zero(self, value: Number) -> bool:
        """Whether ``value`` is zero up to rounding."""
        if isinstance(value, Fraction):
            return value == 0
        re, im = self.parts(value)
        return max(re.copy_abs(), im.copy_abs()) <= CONTEXT.multiply(TOLERANCE, self.scale)

    def equal(self, left: Number, right: Number) -> bool:
        """Whether two numbers are the same, up to rounding where they are not exact."""
        if isinstance(left, Fraction) and isinstance(right, Fraction):
            return left == right
        (a, b), (c, d) = self.parts(left), self.parts(right)
        size = max(a.copy_abs(), b.copy_abs(), c.copy_abs(), d.copy_abs(), self.scale)
        limit = CONTEXT.multiply(TOLERANCE, size)
        return CONTEXT.subtract(a, c).copy_abs() <= limit and CONTEXT.subtract(b, d).copy_abs() <= limit

    def compare(self, left: Fraction | Decimal, right: Fraction | Decimal) -> int:
        """-1, 0 or 1 as ``left`` is below, equal to or above ``right``."""
        if self.equal(left, right):
            return 0
        if isinstance(left, Fraction) and isinstance(right, Fraction):
            return -1 if left < right else 1
        return -1 if self.real(left) < self.real(right) else 1

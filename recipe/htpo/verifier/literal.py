# Copyright 2026 The verl-htpo authors
# SPDX-License-Identifier: Apache-2.0
"""Plain number literals, read without the parser: the fast path of integer ground truths.

A literal is a signed integer of any size, a decimal, a number in scientific notation or one fraction of integers.
"""

from __future__ import annotations

import re
from fractions import Fraction

from recipe.htpo.verifier.config import VerifierConfig
from recipe.htpo.verifier.separators import GROUPED

_INTEGER = re.compile(rf"([-+]?)(\d+|{GROUPED})")
_DECIMAL = re.compile(rf"([-+]?)(\d+|{GROUPED})?\.(\d*)")
_FRACTION = re.compile(r"([-+]?)(?:\\frac\{([-+]?\d+)\}\{([-+]?\d+)\}|(\d+)/(\d+))")
_BITS_PER_DIGIT = 3.33


def parse_literal(text: str, config: VerifierConfig) -> Fraction | None:
    """Return the exact value of a normalised plain number, or None where the text is none or exceeds ``max_bits``."""
    if len(text) * _BITS_PER_DIGIT > config.max_bits:
        return None
    if (match := _INTEGER.fullmatch(text)) is not None:
        sign, digits = match.groups()
        return Fraction(_signed(sign, int(digits.replace(",", ""))))
    if (match := _DECIMAL.fullmatch(text)) is not None:
        sign, whole, part = match.groups()
        if not whole and not part:
            return None
        return Fraction(_signed(sign, int((whole or "").replace(",", "") + part)), 10 ** len(part))
    if (match := _FRACTION.fullmatch(text)) is not None:
        sign, top, bottom, plain_top, plain_bottom = match.groups()
        denominator = int(bottom or plain_bottom)
        return Fraction(_signed(sign, int(top or plain_top)), denominator) if denominator else None
    return None


def _signed(sign: str, value: int) -> int:
    return -value if sign == "-" else value

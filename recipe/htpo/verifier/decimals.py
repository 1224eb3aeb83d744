# Copyright 2026 The verl-htpo authors
# SPDX-License-Identifier: Apache-2.0
"""Decimals without end: ``0.1\\overline{6}`` and ``0.1666\\ldots``."""

from __future__ import annotations

from fractions import Fraction

from recipe.htpo.verifier.errors import Unreadable

_LONGEST_PERIOD = 60


def repeated(text: str, period: str) -> Fraction:
    """What ``period``, repeated without end behind the decimal ``text``, adds to it."""
    if not period.isdecimal() or len(period) > _LONGEST_PERIOD:
        raise Unreadable("repeating decimal")
    places = len(text.split(".")[1])
    return Fraction(int(period), (10 ** len(period) - 1) * 10**places)


def written_period(text: str) -> str:
    """The digits that repeat at the end of ``text``: one digit three times, or several digits twice."""
    places = text.split(".")[1]
    for length in range(1, min(len(places) // 2, _LONGEST_PERIOD // 2) + 1):
        period = places[-length:]
        if places.endswith(period * (3 if length == 1 else 2)):
            return period
    raise Unreadable("decimal without a period")

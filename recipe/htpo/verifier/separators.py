# Copyright 2026 The verl-htpo authors
# SPDX-License-Identifier: Apache-2.0
r"""Thousands separators, the one place that reads them.

``1{,}234``, ``1\,234``, ``1\!234`` and ``1 234`` are one number wherever they stand. ``1,234`` is one number or two
members of a list: a caller says which, and a run such as ``27,63,99,135`` with a group that is no group of three is
always a list.
"""

from __future__ import annotations

import re

GROUPED = r"[1-9]\d{0,2}(?:,\d{3})++"
"""Digits in groups of three, as part of a pattern."""

_MARKED = re.compile(r"(?<=\d)\s*+(?:\{,\}\s*+(?:\\!)?|,\\!|\\!|\\,)\s*+(?=\d{3}(?!\d))")
_SPACED = re.compile(r"(?<![\d.,_^\w}/])[1-9]\d{0,2}(?: \d{3})+(?![\d.])")
_RUN = re.compile(r"\d++(?:,\d++)++")
_WHOLE = re.compile(GROUPED)
_DECIMALS = re.compile(r"\.\d++")


def join_marked_digits(text: str) -> str:
    """Drop separators that can only be thousands separators: ``{,}``, ``\\!``, ``\\,``."""
    return _MARKED.sub("", text)


def join_spaced_digits(text: str) -> str:
    """Drop the spaces of ``12 345 678``."""
    return _SPACED.sub(lambda match: match.group().replace(" ", ""), text)


def comma_run(text: str, position: int) -> tuple[str | None, int]:
    """Look at the digits and commas at ``position``: the number they write, or None, and where they end.

    Without a comma between digits the end is ``position``. The caller skips the run, so that a list is read once.
    """
    run = _RUN.match(text, position)
    if run is None:
        return None, position
    if _WHOLE.fullmatch(run.group()) is None:
        return None, run.end()
    decimals = _DECIMALS.match(text, run.end())
    end = decimals.end() if decimals else run.end()
    return text[position:end].replace(",", ""), end

# Copyright 2026 The verl-htpo authors
# SPDX-License-Identifier: Apache-2.0
"""The result of grading one response."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

Reason = Literal[
    "equal",
    "not_equal",
    "extraction",
    "format",
    "refused_multiple",
    "copied",
    "over_limit",
    "ground_truth",
    "internal_error",
]
"""Why a verdict fell.

- ``equal``: the answer equals the ground truth (the only reason of a correct verdict).
- ``not_equal``: the answer was read and is another one.
- ``extraction``: the response states no answer (no marker, an empty one, or a box that never closes).
- ``format``: the answer cannot be read, or is not of the asked form (an unevaluated product for an integer).
- ``refused_multiple``: several answers where the ground truth is one.
- ``copied``: an expression equal to the ground truth that only stands in the problem.
- ``over_limit``: the answer is longer, deeper or larger than the limits of the config allow.
- ``ground_truth``: the ground truth is missing or empty.
- ``internal_error``: a defect of the verifier raised; the log holds the trace. Never a verdict about the response.
"""

REASONS: tuple[Reason, ...] = get_args(Reason)


@dataclass(frozen=True, slots=True)
class Verdict:
    """``correct`` if and only if ``reason`` is ``equal``; ``pred`` is the extracted answer in the common spelling."""

    correct: bool
    reason: Reason
    pred: str

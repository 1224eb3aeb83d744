# Copyright 2026 The verl-htpo authors
# SPDX-License-Identifier: Apache-2.0
"""Every policy decision and every limit of the verifier, by name.

The policies say what counts as the same answer where mathematics alone does not decide; the limits bound the work of
one verdict, so that no response can stall training and no time-out is needed.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, Literal, get_args

Evaluated = Literal["integer", "number", "never"]


@dataclass(frozen=True, kw_only=True, slots=True)
class VerifierConfig:
    """Options of :func:`recipe.htpo.verifier.verify`. Frozen and hashable; invalid values raise ``ValueError``."""

    answer_lines: bool = True
    """Besides ``\\boxed{}``, an ``Answer:`` or ``答案：`` line and ``<answer>`` tags state the answer."""
    answer_phrases: bool = True
    """Without a box and an answer line, the last "answer is ...", ``答案是...`` or ``#### n`` states the answer."""
    accept_unclosed_box: bool = False
    """Read a last box that never closes to the end of the response. Off: such a response was cut and has no answer."""
    join_adjacent_boxes: bool = True
    """Last boxes parted only by punctuation, "and" or "or" are one list of answers. Off: the last box alone counts."""
    require_evaluated: Evaluated = "integer"
    """Which ground truths demand an evaluated number: ``integer`` (17*23 is no answer to 391), ``number`` (any literal
    number), ``never``."""
    percent_either: bool = True
    """``25%`` equals 25 and 1/4 when only one side has the sign. Off: ``25%`` is 1/4 alone."""
    degrees_as_radians: bool = True
    """45 degrees equals pi/4 as well as the plain number 45. Off: only the number of degrees counts."""
    ratio_as_fraction: bool = True
    """``3:4`` equals 3/4. Off: a ratio equals ratios alone."""
    bare_list_as_tuple: bool = True
    """``1, 2`` without brackets equals the tuple ``(1, 2)``, in the same order."""
    vector_as_tuple: bool = True
    """A row or column matrix, ``[1,2,3]`` and ``<1,2,3>`` equal the tuple ``(1,2,3)``."""
    base_optional: bool = True
    """``204_5`` equals ``204`` (the question names the base), but never its decimal value 54."""
    choice_prefix: bool = True
    """``(B) 26`` and ``B. 26`` answer both the choice B and the number 26."""
    expression_label: bool = True
    """``x+y=5`` answers 5: a left side with two or more names labels the value. ``x^2=5`` never answers 5."""
    ignore_unknown_units: bool = True
    """Words behind a number that are no known unit ("5 apples") are dropped. Off: they must agree."""
    refuse_copied: bool = True
    """An expression that stands in the problem is no answer ("factor ``x^2-9``"), unless the problem gives the ground
    truth too. Needs the text of the problem: without one, nothing is refused."""
    decimal_rel_tol: float = 0.0
    """Relative distance at which a decimal equals the other number. 0: a rounded decimal is a wrong answer."""

    tail_chars: int = 20_000
    """Only this many last characters of a response are searched for the answer."""
    max_answer_chars: int = 2_000
    """Longest answer that is read, in characters."""
    max_tokens: int = 600
    """Most LaTeX tokens in one answer."""
    max_depth: int = 60
    """Deepest nesting of one answer."""
    max_items: int = 64
    """Most elements of one list, set, tuple or matrix, and most values a plus-minus may expand to."""
    max_bits: int = 14_000
    """Longest exact integer, in bits. At most 14,000, because Python reads at most 4,300 digits."""
    max_exponent: int = 4_000
    """Largest integer exponent that is computed exactly."""
    max_factorial: int = 500
    """Largest argument of a factorial or binomial that is computed exactly."""

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            expected = type(field.default)
            if expected is float and type(value) is int:
                object.__setattr__(self, field.name, float(value))
            elif type(value) is not expected:
                raise ValueError(f"verifier option {field.name} must be {expected.__name__}, got {value!r}")
            if expected is int and value < 1:
                raise ValueError(f"verifier option {field.name} must be at least 1, got {value!r}")
        if self.require_evaluated not in get_args(Evaluated):
            raise ValueError(
                f"verifier option require_evaluated must be one of {', '.join(get_args(Evaluated))}, "
                f"got {self.require_evaluated!r}"
            )
        if self.max_bits > 14_000:
            raise ValueError(f"verifier option max_bits must be at most 14000, got {self.max_bits!r}")
        if not 0.0 <= self.decimal_rel_tol < 1.0:
            raise ValueError(f"verifier option decimal_rel_tol must be in [0, 1), got {self.decimal_rel_tol!r}")

    @classmethod
    def names(cls) -> tuple[str, ...]:
        """The names of all options."""
        return tuple(field.name for field in fields(cls))

    @classmethod
    def from_dict(cls, options: Mapping[str, Any]) -> VerifierConfig:
        """Build a config from plain options; an unknown name raises ``ValueError`` and lists the valid ones."""
        unknown = sorted(set(options) - set(cls.names()))
        if unknown:
            raise ValueError(f"unknown verifier option {', '.join(unknown)}; valid options: {', '.join(cls.names())}")
        return cls(**options)


DEFAULT_CONFIG = VerifierConfig()

# Copyright 2026 The verl-htpo authors
# SPDX-License-Identifier: Apache-2.0
"""How a verdict becomes a reward, and how verl's flat ``reward_kwargs`` become the two configs.

Apart from reward.py, because verl loads that file by its path without registering it as a module, where a dataclass
cannot be defined.
"""

from __future__ import annotations

import importlib.util
import math
from collections.abc import Mapping
from dataclasses import dataclass, fields
from functools import lru_cache
from typing import Any, Literal, get_args

from recipe.htpo.verifier.config import VerifierConfig

Grader = Literal["htpo", "math_dapo"]
Opinion = Literal["off", "report", "accept"]


@dataclass(frozen=True, kw_only=True, slots=True)
class RewardConfig:
    """How a verdict becomes a reward. Frozen; invalid values raise ``ValueError``."""

    grader: Grader = "htpo"
    """``htpo``: this package's verifier. ``math_dapo``: verl's own scorer, the protocol of the DAPO and HTPO papers."""
    score_correct: float = 1.0
    """Score of a correct response."""
    score_wrong: float = 0.0
    """Score of any other response; verl's math_dapo uses -1.0."""
    math_dapo_metric: bool = False
    """Report ``math_dapo_agrees``: the share of responses on which verl's math_dapo and the verifier agree."""
    second_opinion: Opinion = "off"
    """Ask Math-Verify (the ``math-verify`` extra) about refused answers, in a child process: ``report`` adds metrics,
    ``accept`` also takes its yes for a correct answer."""
    second_opinion_limit_s: float = 5.0
    """Longest wait for a second opinion, in seconds."""
    max_pred_chars: int = 256
    """Longest ``pred`` that is reported, in characters; verl stores it as a fixed-width string for the whole batch."""

    def __post_init__(self) -> None:
        if self.grader not in get_args(Grader):
            raise ValueError(f"reward option grader must be one of {', '.join(get_args(Grader))}, got {self.grader!r}")
        if self.second_opinion not in get_args(Opinion):
            raise ValueError(
                f"reward option second_opinion must be one of {', '.join(get_args(Opinion))}, "
                f"got {self.second_opinion!r}"
            )
        if self.second_opinion != "off" and importlib.util.find_spec("math_verify") is None:
            raise ValueError("reward option second_opinion needs Math-Verify: pip install 'verl-htpo[math-verify]'")
        for name in ("score_correct", "score_wrong", "second_opinion_limit_s"):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int | float) or not -math.inf < value < math.inf:
                raise ValueError(f"reward option {name} must be a finite number, got {value!r}")
        if not self.second_opinion_limit_s > 0:
            raise ValueError(
                f"reward option second_opinion_limit_s must be above 0, got {self.second_opinion_limit_s!r}"
            )
        if not self.score_wrong < self.score_correct:
            raise ValueError(
                f"reward option score_correct ({self.score_correct}) must be above score_wrong ({self.score_wrong})"
            )
        if type(self.math_dapo_metric) is not bool:
            raise ValueError(f"reward option math_dapo_metric must be true or false, got {self.math_dapo_metric!r}")
        if type(self.max_pred_chars) is not int or self.max_pred_chars < 1:
            raise ValueError(f"reward option max_pred_chars must be a positive integer, got {self.max_pred_chars!r}")


def split_options(options: Mapping[str, Any]) -> tuple[RewardConfig, VerifierConfig]:
    """Sort plain options into the two configs; an unknown name raises ``ValueError`` and lists the valid ones."""
    try:
        return _split_options(tuple((name, type(options[name]), options[name]) for name in sorted(options)))
    except TypeError as error:
        raise ValueError(f"reward_kwargs must be plain numbers, strings or booleans, got {dict(options)!r}") from error


@lru_cache(maxsize=64)
def _split_options(options: tuple[tuple[str, type, Any], ...]) -> tuple[RewardConfig, VerifierConfig]:
    """The types are part of the key because ``1 == True``."""
    reward_names = tuple(field.name for field in fields(RewardConfig))
    valid = reward_names + VerifierConfig.names()
    values = {name: value for name, _, value in options}
    unknown = [name for name in values if name not in valid]
    if unknown:
        raise ValueError(f"unknown reward_kwargs {', '.join(unknown)}; valid names: {', '.join(valid)}")
    reward = RewardConfig(**{name: value for name, value in values.items() if name in reward_names})
    return reward, VerifierConfig(**{name: value for name, value in values.items() if name not in reward_names})

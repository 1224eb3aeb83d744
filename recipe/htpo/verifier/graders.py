# Copyright 2026 The verl-htpo authors
# SPDX-License-Identifier: Apache-2.0
"""Other graders behind one signature: ``grader(response, ground_truth) -> bool``.

Each loader imports its library on use. They run in a child process (:mod:`.child`) because most of them can hang.
"""

from __future__ import annotations

from collections.abc import Callable

Grader = Callable[[str, str], bool]


def _htpo() -> Grader:
    from recipe.htpo.verifier.grade import verify

    return lambda response, truth: verify(response, truth).correct


def _math_dapo() -> Grader:
    from verl.utils.reward_score import math_dapo

    def grade(response: str, truth: str) -> bool:
        result: dict = math_dapo.compute_score(response, truth)  # type: ignore[assignment]
        return bool(result["acc"])

    return grade


def _math_reward() -> Grader:
    from verl.utils.reward_score import math_reward

    return lambda response, truth: bool(math_reward.compute_score(response, truth))


def _prime_math() -> Grader:
    from verl.utils.reward_score import prime_math

    return lambda response, truth: bool(prime_math.compute_score(response, truth)[0])  # type: ignore[index]


def _math_verify() -> Grader:
    """The extraction targets of verl's math_verify, in the main thread, where its own time-outs work."""
    from math_verify import parse, verify
    from math_verify.parser import ExprExtractionConfig, LatexExtractionConfig

    def grade(response: str, truth: str) -> bool:
        gold = parse(f"\\boxed{{{truth}}}", (LatexExtractionConfig(),))
        found = parse(response, (ExprExtractionConfig(), LatexExtractionConfig()))
        return bool(gold and found) and any(verify(a, b) for a in gold for b in found)

    return grade


def _mathruler() -> Grader:
    from mathruler.grader import extract_boxed_content, grade_answer

    return lambda response, truth: bool(grade_answer(extract_boxed_content(response), truth))


LOADERS: dict[str, Callable[[], Grader]] = {
    "htpo": _htpo,
    "math_dapo": _math_dapo,
    "math_reward": _math_reward,
    "prime_math": _prime_math,
    "math_verify": _math_verify,
    "mathruler": _mathruler,
}

# Copyright 2026 The verl-htpo authors
# SPDX-License-Identifier: Apache-2.0
"""The three stages in a row: extract, normalise, compare."""

from __future__ import annotations

from collections.abc import Sequence

from recipe.htpo.verifier.config import DEFAULT_CONFIG, VerifierConfig
from recipe.htpo.verifier.extract import extract_answer
from recipe.htpo.verifier.literal import parse_literal
from recipe.htpo.verifier.normalize import normalize
from recipe.htpo.verifier.verdict import Reason, Verdict

GroundTruth = str | Sequence[str] | None


def verify(response: str, ground_truth: GroundTruth, config: VerifierConfig = DEFAULT_CONFIG) -> Verdict:
    """Grade ``response`` against ``ground_truth`` (one answer, or a list of the answers that must all be given).

    Never raises because of a response, keeps no state and is bounded by ``config``: safe in any thread.
    """
    if ground_truth is None or ground_truth_problem(ground_truth, config) is not None:
        return Verdict(False, "ground_truth", "")
    truth = join_ground_truth(ground_truth)
    found = extract_answer(response, config)
    if found.problem is not None:
        return Verdict(False, found.problem, "")
    pred = normalize(found.text)
    reason = compare_answers(pred, normalize(truth), config)
    return Verdict(reason == "equal", reason, pred)


def join_ground_truth(ground_truth: str | Sequence[str]) -> str:
    """Write a list of answers as one answer."""
    return ground_truth if isinstance(ground_truth, str) else " , ".join(ground_truth)


def ground_truth_problem(ground_truth: object, config: VerifierConfig = DEFAULT_CONFIG) -> str | None:
    """Say why ``ground_truth`` cannot be graded against, or return None where it can."""
    parts = [ground_truth] if isinstance(ground_truth, str) else ground_truth
    if not isinstance(parts, Sequence) or not all(isinstance(part, str) for part in parts):
        return f"the ground truth must be a string or a list of strings, got {type(ground_truth).__name__}"
    if not parts or not all(normalize(part) for part in parts):
        return "the ground truth is empty"
    if sum(map(len, parts)) > config.max_answer_chars:
        return f"the ground truth is longer than max_answer_chars ({config.max_answer_chars})"
    return None


def compare_answers(pred: str, truth: str, config: VerifierConfig) -> Reason:
    """Compare two normalised answers."""
    expected, value = parse_literal(truth, config), parse_literal(pred, config)
    if expected is not None and value is not None:
        return "equal" if value == expected else "not_equal"
    return "equal" if pred == truth else "not_equal"

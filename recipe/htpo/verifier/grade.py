# Copyright 2026 The verl-htpo authors
# SPDX-License-Identifier: Apache-2.0
"""The three stages in a row: extract, normalise, compare."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import lru_cache
from typing import cast

from recipe.htpo.verifier.compare import Comparison
from recipe.htpo.verifier.config import DEFAULT_CONFIG, VerifierConfig
from recipe.htpo.verifier.copied import is_copied
from recipe.htpo.verifier.errors import OverLimit, Unreadable
from recipe.htpo.verifier.evaluated import is_evaluated, is_evaluated_text, is_several
from recipe.htpo.verifier.extract import clean_answer, extract_answer, is_balanced
from recipe.htpo.verifier.literal import parse_literal
from recipe.htpo.verifier.nodes import Node, Seq, children
from recipe.htpo.verifier.normalize import normalize, without_spaces
from recipe.htpo.verifier.parser import parse
from recipe.htpo.verifier.signs import expand_signs
from recipe.htpo.verifier.text import choice_letter, split_choice, words_equal
from recipe.htpo.verifier.verdict import Reason, Verdict

logger = logging.getLogger(__name__)

GroundTruth = str | Sequence[str] | None


def verify(
    response: str, ground_truth: GroundTruth, config: VerifierConfig = DEFAULT_CONFIG, problem: str = ""
) -> Verdict:
    """Grade ``response`` against ``ground_truth`` (one answer, or a list of the answers that must all be given).

    Never raises, keeps no state and is bounded by ``config``: safe in any thread. An exception inside is a defect: it
    is logged and becomes the reason ``internal_error``. ``problem``, where it is known, serves ``refuse_copied``.
    """
    try:
        return grade(response, ground_truth, config, problem)
    except Exception:
        logger.exception("the verifier raised; ground truth %.200r", ground_truth)
        return Verdict(False, "internal_error", "")


def grade(response: str, ground_truth: GroundTruth, config: VerifierConfig, problem: str = "") -> Verdict:
    """:func:`verify` without its last-resort boundary."""
    if ground_truth is None or _unusable(ground_truth, config) is not None:
        return Verdict(False, "ground_truth", "")
    found = extract_answer(response, config)
    if found.problem is not None:
        return Verdict(False, found.problem, "")
    pred, truth = normalize(found.text), read_ground_truth(ground_truth)
    reason = compare_answers(pred, truth, config)
    if found.other and not (reason == "equal" and _restates(normalize(found.other), pred, truth, config)):
        reason = "refused_multiple"
    if reason == "equal" and problem and config.refuse_copied:
        if is_copied(pred, _parse_or_none(split_choice(pred)[1], config), truth, problem):
            reason = "copied"
    return Verdict(reason == "equal", reason, _spell(pred, config))


def _restates(other: str, pred: str, truth: str, config: VerifierConfig) -> bool:
    """Whether a second answer behind "or" is the same value, in another form."""
    free = replace(config, require_evaluated="never")
    return other != pred and compare_answers(other, truth, free) == "equal"


def _spell(pred: str, config: VerifierConfig) -> str:
    """A plain number in its shortest form, so that majority votes count ``34``, ``034`` and ``34.0`` together."""
    value = parse_literal(pred, config) if len(pred) < 100 else None
    return pred if value is None else str(value)


def join_ground_truth(ground_truth: str | Sequence[str]) -> str:
    """Write a list of answers as one answer."""
    return ground_truth if isinstance(ground_truth, str) else " , ".join(ground_truth)


def read_ground_truth(ground_truth: str | Sequence[str]) -> str:
    """The ground truth in the common spelling: it goes through the same rules as an answer line."""
    return normalize(clean_answer(join_ground_truth(ground_truth)))


def ground_truth_problem(ground_truth: object, config: VerifierConfig = DEFAULT_CONFIG) -> str | None:
    """Say why ``ground_truth`` cannot be read, or return None where it can. Meant for checks of a data set.

    Of the problems reported here, only an unreadable text can still be graded: the same text equals it.
    """
    problem = _unusable(ground_truth, config)
    if problem is not None:
        return problem
    truth = read_ground_truth(cast(str | Sequence[str], ground_truth))
    if choice_letter(truth) is not None:
        return None
    try:
        parse(split_choice(truth)[1], config)
    except Unreadable as error:
        return f"the ground truth is no mathematics that the verifier reads ({error}); only the same text equals it"
    except OverLimit as error:
        return f"the ground truth exceeds a limit of the verifier ({error})"
    return None


def _unusable(ground_truth: object, config: VerifierConfig) -> str | None:
    """Why nothing can be graded against ``ground_truth``, or None."""
    parts = [ground_truth] if isinstance(ground_truth, str) else ground_truth
    if not isinstance(parts, Sequence) or not all(isinstance(part, str) for part in parts):
        return f"the ground truth must be a string or a list of strings, got {type(ground_truth).__name__}"
    if not parts or not all(normalize(part) for part in parts):
        return "the ground truth is empty"
    if sum(map(len, parts)) > config.max_answer_chars:
        return f"the ground truth is longer than max_answer_chars ({config.max_answer_chars})"
    if not all(map(is_balanced, parts)):
        return "the braces of the ground truth do not balance, or it ends with a backslash"
    return None


def compare_answers(pred: str, truth: str, config: VerifierConfig) -> Reason:
    """Compare two normalised answers, the second of which is the asked form.

    From the cheapest rule to the dearest: the same text, two plain numbers, letters of a choice, two trees.
    """
    if without_spaces(pred) == without_spaces(truth):
        return "equal"
    reason = _compare_literals(pred, truth, config) or _compare_choices(pred, truth, config)
    if reason is not None:
        return reason
    if config.choice_prefix:
        pred, truth = split_choice(pred)[1], split_choice(truth)[1]
    try:
        return _compare_trees(pred, truth, config)
    except (OverLimit, RecursionError):
        return "over_limit"


def _compare_literals(pred: str, truth: str, config: VerifierConfig) -> Reason | None:
    """The verdict on two plain numbers, or None where one of the two is none."""
    expected, value = parse_literal(truth, config), parse_literal(pred, config)
    if expected is None or value is None:
        return None
    if value != expected:
        return "not_equal"
    return "equal" if is_evaluated_text(pred, truth, config) else "format"


def _compare_choices(pred: str, truth: str, config: VerifierConfig) -> Reason | None:
    """The verdict where letters decide, else None.

    A letter alone (``C``) is compared with a letter alone and, under ``choice_prefix``, with the letter of ``(C) 26``.
    Between ``(C) 26`` and ``(C) 27`` only different letters decide.
    """
    truth_letter, pred_letter = choice_letter(truth), choice_letter(pred)
    one_is_alone = truth_letter is not None or pred_letter is not None
    if config.choice_prefix:
        truth_letter = truth_letter or split_choice(truth)[0]
        pred_letter = pred_letter or split_choice(pred)[0]
    if truth_letter is None or pred_letter is None:
        return None
    if truth_letter != pred_letter:
        return "not_equal"
    return "equal" if one_is_alone else None


def _compare_trees(pred: str, truth: str, config: VerifierConfig) -> Reason:
    expected, found = _parse_or_none(truth, config), _parse_or_none(pred, config)
    if expected is None or found is None:
        return "equal" if words_equal(pred, truth) else "format"
    comparison = Comparison(config)
    reason: Reason = "not_equal"
    for left, right in _list_readings(pred, found, truth, expected, config):
        if comparison.equal(left, right):
            return "equal" if is_evaluated(left, right, config) else "format"
    if not is_several(expected) and is_several(expand_signs(found, config)):
        if _states_one_value(found, expected, comparison):
            return "equal" if any(is_evaluated(item, expected, config) for item in children(found)) else "format"
        reason = "refused_multiple"
    return reason


def _states_one_value(found: Node, expected: Node, comparison: Comparison) -> bool:
    """Whether a bare list is one value in several forms, ``70^\\circ, 70``; the same text twice is no answer."""
    if not isinstance(found, Seq) or found.opening or len(set(found.items)) < len(found.items):
        return False
    return all(comparison.equal(item, expected) for item in found.items)


@lru_cache(maxsize=1024)
def _parse_or_none(text: str, config: VerifierConfig, merge_thousands: bool = True) -> Node | None:
    """The tree of ``text``, kept because the responses to a prompt share the ground truth and often the answer."""
    try:
        return parse(text, config, merge_thousands)
    except Unreadable:
        return None


def _list_readings(
    pred: str, found: Node, truth: str, expected: Node, config: VerifierConfig
) -> Iterator[tuple[Node, Node]]:
    """Both trees; then, beside a list, ``100,200`` on the other side as a list too."""
    yield found, expected
    if is_several(expected) and not is_several(found) and "," in pred:
        other = _parse_or_none(pred, config, merge_thousands=False)
        if other is not None:
            yield other, expected
    elif is_several(found) and not is_several(expected) and "," in truth:
        other = _parse_or_none(truth, config, merge_thousands=False)
        if other is not None:
            yield found, other

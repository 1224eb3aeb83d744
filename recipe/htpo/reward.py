# Copyright 2026 The verl-htpo authors
# SPDX-License-Identifier: Apache-2.0
"""The reward function that verl calls: ``reward.custom_reward_function.{path,name,reward_kwargs}``.

``path`` may be ``pkg://recipe.htpo.reward`` or the path of this file; ``name`` is ``compute_score`` or
``compute_score_async``. Every key of ``reward_kwargs`` is an option of ``RewardConfig`` (verifier/reward_config.py)
or of ``VerifierConfig`` (verifier/config.py).

verl 0.9.1 calls a synchronous function in a worker thread and without a time-out
(verl/experimental/reward_loop/reward_manager), so nothing here may hang, use signals or raise because of a response.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from recipe.htpo.scorers import Scorer, scorer_for
from recipe.htpo.verifier import Reason, Verdict, verify
from recipe.htpo.verifier.grade import join_ground_truth
from recipe.htpo.verifier.reward_config import split_options
from recipe.htpo.verifier.second_opinion import shared_opinion

logger = logging.getLogger(__name__)

ROUTER_KWARGS = frozenset({"reward_router_address", "reward_model_tokenizer"})
"""What verl's reward managers add to the call when a reward model is served; a rule needs neither."""


def compute_score(
    data_source: str,
    solution_str: str,
    ground_truth: str | Sequence[str] | None,
    extra_info: Mapping[str, Any] | None = None,
    **kwargs: Any,
) -> dict[str, float | str]:
    """Score one response for verl's reward managers.

    Args:
        data_source: Name of the data set. A prefix listed in scorers.py has a scorer of its own; all else is
            mathematics, graded alike.
        solution_str: The decoded response.
        ground_truth: The answer, or the list of answers that must all be given.
        extra_info: verl's row information. Its ``problem`` (or ``question``, ``raw_problem``) is the text that
            ``refuse_copied`` reads: verl hands the reward no prompt. Scorers get all of it.
        **kwargs: Options of ``RewardConfig`` and ``VerifierConfig``; others raise ``ValueError``.

    Returns:
        ``score``, ``acc`` (0.0 or 1.0), ``pred`` and ``reason`` (a text: verl bootstraps every number of every
        validation prompt, which takes seconds per key; the trainer turns reasons into shares); with
        ``math_dapo_metric`` also ``math_dapo_agrees``; with ``second_opinion`` also ``second_opinion_accepts`` and
        ``second_opinion_missing`` (no verdict in time). The keys are the same for every response of a run. A missing
        ground truth scores as wrong with the reason ``ground_truth``.
    """
    reward, verifier = split_options({key: value for key, value in kwargs.items() if key not in ROUTER_KWARGS})
    if isinstance(ground_truth, np.ndarray):  # a parquet list
        ground_truth = ground_truth.tolist()
    scorer = scorer_for(data_source)
    if scorer is not None:
        verdict = own_verdict(scorer, data_source, solution_str, ground_truth, extra_info)
    elif reward.grader == "math_dapo":
        verdict = math_dapo_verdict(solution_str, ground_truth)
    else:
        verdict = verify(solution_str, ground_truth, verifier, problem_text(extra_info))
    opinion = None
    refused = not verdict.correct and verdict.reason in ("not_equal", "format")
    asked = reward.second_opinion != "off" and scorer is None and refused
    if asked:
        truth = join_ground_truth(ground_truth or "")
        opinion = shared_opinion(reward.second_opinion_limit_s).ask(solution_str[-verifier.tail_chars :], truth)
        if opinion and reward.second_opinion == "accept":
            verdict = Verdict(True, "equal", verdict.pred)
    result: dict[str, float | str] = {
        "score": float(reward.score_correct if verdict.correct else reward.score_wrong),
        "acc": float(verdict.correct),
        "pred": verdict.pred[: reward.max_pred_chars],
        "reason": verdict.reason,
    }
    if reward.math_dapo_metric:
        if scorer is not None:
            other = verdict
        elif reward.grader == "math_dapo":
            other = verify(solution_str, ground_truth, verifier, problem_text(extra_info))
        else:
            other = math_dapo_verdict(solution_str, ground_truth)
        result["math_dapo_agrees"] = float(other.correct == verdict.correct)
    if reward.second_opinion != "off":
        result["second_opinion_accepts"] = float(opinion is True)
        result["second_opinion_missing"] = float(asked and opinion is None)
    return result


async def compute_score_async(
    data_source: str,
    solution_str: str,
    ground_truth: str | Sequence[str] | None,
    extra_info: Mapping[str, Any] | None = None,
    **kwargs: Any,
) -> dict[str, float | str]:
    """:func:`compute_score` for verl's asynchronous path. A verdict is too short to be worth a thread, but a second
    opinion waits for a child process and must not block the event loop."""
    if kwargs.get("second_opinion", "off") != "off":
        return await asyncio.to_thread(compute_score, data_source, solution_str, ground_truth, extra_info, **kwargs)
    return compute_score(data_source, solution_str, ground_truth, extra_info, **kwargs)


PROBLEM_KEYS = ("problem", "question", "raw_problem")
"""Where data sets keep the problem without its template, in ``extra_info``."""


def problem_text(extra_info: Mapping[str, Any] | None) -> str:
    """The text of the problem, or the empty string where the row does not carry it."""
    found = ((extra_info or {}).get(key) for key in PROBLEM_KEYS)
    return next((text for text in found if isinstance(text, str)), "")


def own_verdict(
    scorer: Scorer, data_source: str, solution_str: str, ground_truth: Any, extra_info: Mapping[str, Any] | None
) -> Verdict:
    """The verdict of a scorer of its own; an exception in it is a reason, because a reward must not stop a run."""
    try:
        return scorer(solution_str, ground_truth, extra_info or {})
    except Exception:
        logger.exception("the scorer of data_source %s raised", data_source)
        return Verdict(False, "internal_error", "")


def math_dapo_verdict(solution_str: str, ground_truth: str | Sequence[str] | None) -> Verdict:
    """Grade with verl's math_dapo (verl/utils/reward_score/math_dapo.py), which knows ground truths that are strings.

    verl reads the last 300 characters of the response; a ground truth above 2,000 characters is refused here because
    its normalisation is quadratic in that length.
    """
    from verl.utils.reward_score import math_dapo

    if not isinstance(ground_truth, str) or not ground_truth.strip() or len(ground_truth) > 2_000:
        return Verdict(False, "ground_truth", "")
    result: Any = math_dapo.compute_score(solution_str, ground_truth)
    pred = result["pred"] or ""
    missing: Reason = "extraction" if not pred or pred == "[INVALID]" else "not_equal"
    return Verdict(bool(result["acc"]), "equal" if result["acc"] else missing, pred)

# Copyright 2026 The verl-htpo authors
# SPDX-License-Identifier: Apache-2.0
"""Scorer of the tasks of the package ``reasoning-gym``: ``data_source`` is ``reasoning_gym:TASK``.

Countdown and puzzle24 are graded here, since the package evaluates the response with sympy, which one response can
hang, and takes any four numbers that make 24. Every other task is graded by the package's own ``score_answer``, and is
right when that gives 1.
"""

import json
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from recipe.htpo.tasks.countdown import solves
from recipe.htpo.tasks.errors import MissingInfo
from recipe.htpo.verifier import Verdict, VerifierConfig
from recipe.htpo.verifier.extract import after_thoughts, extract_answer

ENTRY = "task_entry"
"""Field of ``extra_info``: the package's entry (question, answer, metadata) as JSON."""
MAX_ANSWER_CHARS = 2_000
"""Longest answer that is graded, unless twice the length of the package's own is more."""
TARGET_24 = 24
"""What puzzle24 asks for; its metadata has the numbers only."""
_BOARDS = ("arc_agi", "rearc")
"""Tasks whose scorer compares the board with a tuple of tuples, of which JSON makes lists."""
_CONFIG = VerifierConfig()


def score(response: str, ground_truth: Any, extra_info: Mapping[str, Any]) -> Verdict:
    """The verdict on one response; the answer stands between ``<answer>`` and ``</answer>``, in a box or on an
    ``Answer:`` line, whichever of tags or the others there is, or in a box between the tags.

    Raises MissingInfo when the row was not made by ``data_prep build reasoning_gym:TASK``, and ImportError when the
    package is missing.
    """
    if extra_info.get(ENTRY) is None:
        raise MissingInfo(ENTRY)
    entry = json.loads(extra_info[ENTRY])
    answer = _answer(response)
    if answer is None:
        return Verdict(False, "extraction", "")
    if len(answer) > max(MAX_ANSWER_CHARS, 2 * len(str(entry.get("answer")))):
        return Verdict(False, "over_limit", answer[:MAX_ANSWER_CHARS])
    metadata = entry["metadata"]
    name = metadata["source_dataset"]
    if name in ("countdown", "puzzle24"):
        right = solves(answer, metadata["numbers"], metadata["target"] if name == "countdown" else TARGET_24)
        if right is None:
            return Verdict(False, "format", answer)
    else:
        if name in _BOARDS:
            metadata["output"] = tuple(map(tuple, metadata["output"]))
        try:
            right = task(name).score_answer(answer, entry) >= 1
        except SystemExit:  # some tasks evaluate the answer as Python, ``exit()`` too
            right = False
    return Verdict(right, "equal" if right else "not_equal", answer)


@lru_cache(maxsize=16)
def task(name: str) -> Any:
    """The package's data set of a task, for its ``score_answer``."""
    import reasoning_gym

    return reasoning_gym.create_dataset(name, size=1, seed=0)


def _answer(response: str) -> str | None:
    before, closing, _ = after_thoughts(response[-_CONFIG.tail_chars :]).rpartition("</answer>")
    _, opening, inside = before.rpartition("<answer>")
    if opening and closing:
        answer = inside.partition("</answer>")[0].strip()
        if "\\boxed" not in answer:
            return answer or None
        response = answer
    found = extract_answer(response, _CONFIG)
    return None if found.problem else found.text

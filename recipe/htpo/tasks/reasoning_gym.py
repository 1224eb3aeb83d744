# Copyright 2026 The verl-htpo authors
# SPDX-License-Identifier: Apache-2.0
"""Scorer of the tasks of the package ``reasoning-gym``: ``data_source`` is ``reasoning_gym:TASK``.

Countdown is graded here, since the package evaluates the response with sympy, which one response can hang. Every other
task is graded by the package's own ``score_answer``, and is right when that gives 1.
"""

import json
import re
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
_TAGS = re.compile(r"<answer>([^<]*)</answer>")
_CONFIG = VerifierConfig()


def score(response: str, ground_truth: Any, extra_info: Mapping[str, Any]) -> Verdict:
    """The verdict on one response; the answer stands between ``<answer>`` and ``</answer>``, in a box or on an
    ``Answer:`` line, whichever of tags or the others there is.

    Raises MissingInfo when the row was not made by ``data_prep build reasoning_gym:TASK``, and ImportError when the
    package is missing.
    """
    if extra_info.get(ENTRY) is None:
        raise MissingInfo(ENTRY)
    entry = json.loads(extra_info[ENTRY])
    answer = _answer(response)
    if answer is None:
        return Verdict(False, "extraction", "")
    if len(answer) > MAX_ANSWER_CHARS:
        return Verdict(False, "over_limit", answer[:MAX_ANSWER_CHARS])
    metadata = entry["metadata"]
    if metadata["source_dataset"] == "countdown":
        right = solves(answer, metadata["numbers"], metadata["target"])
        if right is None:
            return Verdict(False, "format", answer)
    else:
        right = task(metadata["source_dataset"]).score_answer(answer, entry) >= 1
    return Verdict(right, "equal" if right else "not_equal", answer)


@lru_cache(maxsize=16)
def task(name: str) -> Any:
    """The package's data set of a task, for its ``score_answer``."""
    import reasoning_gym

    return reasoning_gym.create_dataset(name, size=1, seed=0)


def _answer(response: str) -> str | None:
    tagged = _TAGS.findall(after_thoughts(response[-_CONFIG.tail_chars :]))
    if tagged:
        return tagged[-1].strip() or None
    found = extract_answer(response, _CONFIG)
    return None if found.problem else found.text

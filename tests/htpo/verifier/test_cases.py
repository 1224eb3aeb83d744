# Copyright 2026 The verl-htpo authors
# SPDX-License-Identifier: Apache-2.0
"""Labelled cases: equivalences, near misses, extraction formats and hacks.

``cases.jsonl`` holds answers, ``cases_extract.jsonl`` whole responses. A larger labelled file is graded too where
``HTPO_REWARD_CASES`` names one (or ``../shared/data/reward_cases.jsonl`` exists).
"""

import json
import os
from collections import Counter, defaultdict
from pathlib import Path

import pytest

from recipe.htpo.verifier import VerifierConfig, ground_truth_problem, verify
from recipe.htpo.verifier.grade import compare_answers
from recipe.htpo.verifier.normalize import normalize

HERE = Path(__file__).parent
LARGE_FILE = Path(os.environ.get("HTPO_REWARD_CASES", HERE.parents[3] / "shared" / "data" / "reward_cases.jsonl"))
CONFIG = VerifierConfig()


def read(path):
    with open(path, encoding="utf-8") as lines:
        return [json.loads(line) for line in lines]


ANSWERS = read(HERE / "cases.jsonl")
RESPONSES = read(HERE / "cases_extract.jsonl")


BY_CATEGORY = defaultdict(list)
for labelled in ANSWERS + RESPONSES:
    BY_CATEGORY[labelled["category"]].append(labelled)


@pytest.mark.parametrize("category", BY_CATEGORY)
def test_verdicts(category):
    verdicts = [(case, verify(case["response"], case["ground_truth"])) for case in BY_CATEGORY[category]]
    wrong = [(case, verdict) for case, verdict in verdicts if verdict.correct != bool(case["expected"])]
    assert not wrong


def test_there_are_enough_cases_of_both_kinds():
    labels = Counter(case["expected"] for case in ANSWERS + RESPONSES)
    assert labels[1] >= 200 and labels[0] >= 150


def test_a_ground_truth_is_readable_and_equals_itself():
    truths = sorted({case["ground_truth"] for case in ANSWERS + RESPONSES})
    assert not [truth for truth in truths if ground_truth_problem(truth) is not None]
    assert not [truth for truth in truths if not verify(f"\\boxed{{{truth}}}", truth).correct]
    assert not [truth for truth in truths if not verify(f"Answer: ${truth}$", truth).correct]


def test_equivalence_is_symmetric():
    """Two policies are not: the asked form (an integer asks for a number), and an expression that labels an answer."""
    config = VerifierConfig(require_evaluated="never", expression_label=False)
    pairs = [(normalize(case["answer"]), normalize(case["ground_truth"])) for case in ANSWERS]
    equal = {pair: compare_answers(*pair, config) == "equal" for pair in pairs}
    assert not [pair for pair in pairs if (compare_answers(pair[1], pair[0], config) == "equal") != equal[pair]]


@pytest.mark.skipif(not LARGE_FILE.exists(), reason="no large labelled file")
def test_large_file():
    """At most 1 % of the correct answers refused in any kind, none of the wrong ones accepted, none over a limit."""
    wrong, total = Counter(), Counter()
    over_limit = []
    for case in read(LARGE_FILE):
        kind = "right" if case["expected"] else "wrong"
        verdict = verify(case["solution"], case["ground_truth"])
        total[kind] += 1
        wrong[kind] += verdict.correct != bool(case["expected"])
        if verdict.reason == "over_limit" and case["expected"]:
            over_limit.append(case["id"])
    assert wrong["wrong"] == 0
    assert wrong["right"] <= 0.01 * total["right"]
    assert not over_limit

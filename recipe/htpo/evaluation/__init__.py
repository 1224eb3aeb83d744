# Copyright 2026 The verl-htpo authors
# SPDX-License-Identifier: Apache-2.0
"""Evaluation: unbiased numbers, how sure they are, and what may be said of two models.

`Outcomes` holds right and wrong samples; `pass_curve` and `difference` make an `Estimate` of them with intervals and a
band; `decide` gives verdicts on several differences at once.
"""

from recipe.htpo.evaluation.comparison import Decision, Verdict, band_verdicts, decide, difference, pass_curve
from recipe.htpo.evaluation.intervals import Estimate
from recipe.htpo.evaluation.outcomes import Outcomes, common_prompts
from recipe.htpo.evaluation.pass_at_k import avg_at_n, maj_at_k, pass_at_k, powers_of_two

__all__ = [
    "Decision",
    "Estimate",
    "Outcomes",
    "Verdict",
    "avg_at_n",
    "band_verdicts",
    "common_prompts",
    "decide",
    "difference",
    "maj_at_k",
    "pass_at_k",
    "pass_curve",
    "powers_of_two",
]

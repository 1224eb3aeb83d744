# Copyright 2026 The verl-htpo authors
# SPDX-License-Identifier: Apache-2.0
"""A model's pass@k curve, the difference of two, and which of several differences can be told from chance."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from recipe.htpo.evaluation.intervals import LEVEL, Estimate, Factor, estimate
from recipe.htpo.evaluation.outcomes import Outcomes
from recipe.htpo.evaluation.pass_at_k import powers_of_two

Verdict = Literal["better", "worse", "tied"]
"""`tied`: could not be told from chance. It does not say that two models are equal; `Estimate.detectable` says how
large a difference would have been found."""


def pass_curve(runs: Sequence[Outcomes], ks: Sequence[int] | None = None) -> Estimate:
    """Mean pass@k of one arm over its seeds and prompts.

    Args:
        runs: one evaluation for each seed, on the same prompts.
        ks: budgets; by default powers of two up to the samples of every prompt.

    Raises:
        ValueError: no run, other prompts in one of them, or a budget above the samples of a prompt.
    """
    ks = _budgets(runs, ks)
    return estimate([Factor(_values(runs, runs[0].prompts, ks))], ks)


def difference(
    runs: Sequence[Outcomes], baseline: Sequence[Outcomes], ks: Sequence[int] | None = None, *, paired: bool = True
) -> Estimate:
    """Mean pass@k of `runs` less that of `baseline`, paired by prompt.

    Args:
        runs: one evaluation for each seed.
        baseline: the same of what it is compared with.
        ks: budgets; by default powers of two up to the samples of every prompt.
        paired: the i-th run and the i-th baseline have the same seed and are paired too. Otherwise seeds of the two
            groups are independent, and their number may differ.

    Raises:
        ValueError: no run, unlike numbers of paired seeds, other prompts in one of the runs, or a budget above the
            samples of a prompt.
    """
    ks = _budgets([*runs, *baseline], ks)
    prompts = runs[0].prompts
    ours, theirs = _values(runs, prompts, ks), _values(baseline, prompts, ks)
    if not paired:
        return estimate([Factor(ours), Factor(theirs, sign=-1)], ks)
    if len(runs) != len(baseline):
        raise ValueError(f"paired seeds need as many runs ({len(runs)}) as baselines ({len(baseline)}): paired=False")
    return estimate([Factor(ours - theirs, paired=True)], ks)


def band_verdicts(found: Estimate) -> dict[int, Verdict]:
    """Verdict of a difference at every budget, all of them right at once with 95 %."""
    ends = zip(found.ks, found.band_low, found.band_high, strict=True)
    return {k: "better" if low > 0 else "worse" if high < 0 else "tied" for k, low, high in ends}


@dataclass(frozen=True)
class Decision:
    """What one of several comparisons says at one budget."""

    k: int
    value: float
    """Difference, a fraction."""
    low: float
    """Ends of its 95 % interval, for this comparison alone."""
    high: float
    p_value: float
    """For this comparison alone."""
    adjusted_p_value: float
    """Holm's, over all comparisons."""
    verdict: Verdict


def decide(differences: Mapping[str, Estimate], k: int = 1, level: float = LEVEL) -> dict[str, Decision]:
    """Verdicts on several differences: the chance that any of them is wrong is at most `level` (Holm, 1979).

    Raises ValueError where a difference was not computed at `k`.
    """
    # Takes half a second to import.
    from statsmodels.stats.multitest import multipletests

    if not differences:
        return {}
    places = {name: found.at(k) for name, found in differences.items()}
    p_values = [found.p_value[places[name]] for name, found in differences.items()]
    adjusted = multipletests(p_values, alpha=level, method="holm")[1]
    decisions = {}
    for (name, found), p_value in zip(differences.items(), adjusted, strict=True):
        i = places[name]
        value = float(found.value[i])
        decisions[name] = Decision(
            k=k,
            value=value,
            low=float(found.low[i]),
            high=float(found.high[i]),
            p_value=float(found.p_value[i]),
            adjusted_p_value=float(p_value),
            verdict="tied" if p_value >= level else "better" if value > 0 else "worse",
        )
    return decisions


def _budgets(runs: Sequence[Outcomes], ks: Sequence[int] | None) -> tuple[int, ...]:
    if not runs:
        raise ValueError("no run to evaluate")
    return powers_of_two(min(run.least_samples for run in runs)) if ks is None else tuple(ks)


def _values(runs: Sequence[Outcomes], prompts: Sequence[str], ks: Sequence[int]) -> np.ndarray:
    """`[S, P, K]`."""
    if not runs:
        raise ValueError("no run to evaluate")
    if any(len(run) != len(prompts) for run in runs):
        raise ValueError(
            f"runs have {sorted({len(run) for run in runs} | {len(prompts)})} prompts: evaluate all on the same data, "
            "or take the prompts that all have (common_prompts)"
        )
    return np.stack([run.take(prompts).pass_at(ks) for run in runs])

# Copyright 2026 The verl-htpo authors
# SPDX-License-Identifier: Apache-2.0
"""pass@k, avg@n and maj@k of every prompt, from what all its `n` samples gave: expectations, nothing is drawn."""

from collections import Counter
from collections.abc import Hashable, Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.stats import binom

Floats = NDArray[np.float64]

MAX_VOTES = 1000
"""Most samples of a prompt that `maj_at_k` takes: float64 has no room for the number of their subsets."""


def powers_of_two(n: int) -> tuple[int, ...]:
    """The budgets that are shown for `n` samples: 1, 2, 4, ... and `n` itself. Raises ValueError where `n` < 1."""
    if n < 1:
        raise ValueError(f"a prompt needs at least one sample, got {n}")
    return tuple(2**i for i in range((n - 1).bit_length())) + (n,)


def pass_at_k(correct: ArrayLike, samples: ArrayLike, ks: Sequence[int]) -> Floats:
    """Probability that at least one of `k` samples, drawn without replacement from a prompt's, is right.

    The unbiased estimator of arXiv 2107.03374, 1 - C(n-c, k) / C(n, k), as a product of `c` ratios: no binomial
    coefficient is computed, so that no `n` is too large; the error is a few rounding errors per right sample.

    Args:
        correct: `[P]` integers, right samples `c` of each prompt.
        samples: `[P]` integers, or one for all prompts: its samples `n`.
        ks: `K` budgets.

    Returns:
        `[P, K]` float64 within 0 and 1.

    Raises:
        ValueError: a count that is none, more right samples than samples, or a budget outside 1..n.
    """
    right, total = _counts(correct), _counts(samples)
    right, total = np.broadcast_arrays(right, total)
    if (right > total).any():
        worst = int(np.argmax(right > total))
        raise ValueError(f"{right[worst]} of {total[worst]} samples cannot be right (prompt {worst})")
    if not len(ks) or min(ks) < 1 or (total.size and max(ks) > total.min()):
        least = total.min() if total.size else 0
        raise ValueError(f"pass@k needs k within 1 and the samples of every prompt (the fewest are {least}), got {ks}")
    found = np.empty((right.size, len(ks)))
    for n in np.unique(total):
        rows = total == n
        found[rows] = _pass_table(int(n), ks)[right[rows]]
    return found


def avg_at_n(correct: ArrayLike, samples: ArrayLike) -> Floats:
    """Share of right samples of each prompt, `[P]`: what a benchmark's avg@n averages, and pass@1."""
    return pass_at_k(correct, samples, (1,))[:, 0]


def _counts(values: ArrayLike) -> NDArray[np.int64]:
    array = np.atleast_1d(np.asarray(values))
    counts = array.astype(np.int64)
    if array.ndim != 1 or (counts != array).any() or (counts < 0).any():
        raise ValueError("counts of samples must be one row of integers that are not negative")
    return counts


def _pass_table(n: int, ks: Sequence[int]) -> Floats:
    """`[n + 1, K]`: pass@k for every number of right samples out of `n`."""
    # C(n-c-1, k) / C(n-c, k) = (n-c-k) / (n-c).
    wrong = np.arange(n, 0, -1.0)[:, None]
    ratios = np.maximum(wrong - np.asarray(ks), 0.0) / wrong
    return 1.0 - np.concatenate([np.ones((1, len(ks))), np.cumprod(ratios, axis=0)])


def maj_at_k(answers: Sequence[Hashable], correct: Sequence[bool], ks: Sequence[int]) -> Floats:
    """Probability that the most frequent answer of `k` samples, drawn without replacement, is right; one prompt.

    Ties are decided by a fair draw. A sample without an answer (None or an empty text) has no vote; where nobody
    votes the prompt is wrong. Samples with the same answer must agree in `correct`, and count as the majority of
    their verdicts where they do not.

    Args:
        answers: the extracted answer of each of `n` samples.
        correct: `n` verdicts.
        ks: `K` budgets.

    Returns:
        `[K]` float64.

    Raises:
        ValueError: sequences of different lengths, a budget outside 1..n, or more than `MAX_VOTES` samples.
    """
    n = len(answers)
    if len(correct) != n or n > MAX_VOTES:
        raise ValueError(f"maj@k needs one verdict per answer and at most {MAX_VOTES}, got {n} and {len(correct)}")
    if not len(ks) or not 1 <= min(ks) <= max(ks) <= n:
        raise ValueError(f"maj@k needs k within 1 and the number of samples {n}, got {ks}")
    votes = Counter(answer for answer in answers if answer is not None and answer != "")
    right = Counter(answer for answer, verdict in zip(answers, correct, strict=True) if verdict)
    silent = n - sum(votes.values())
    won = np.zeros(max(ks) + 1)
    for answer, count in votes.items():
        if 2 * right[answer] > count:
            others = [other for name, other in votes.items() if name != answer]
            won += _wins(count, others, silent, max(ks))
    # Subsets are weighed by 2^-n, which keeps their number within float64.
    return won[list(ks)] / binom.pmf(ks, n, 0.5)


def _wins(count: int, others: Sequence[int], silent: int, most: int) -> Floats:
    """`[most + 1]`: weight of the subsets of each size in which an answer with `count` votes wins, ties by share."""
    won = np.zeros(most + 1)
    for votes in range(1, min(count, most) + 1):
        # ways[t, s]: `t` other answers have as many votes, and the others and the silent make `s` samples.
        left = most - votes
        ways = np.zeros((left // votes + 1, left + 1))
        ways[0, : min(silent, left) + 1] = binom.pmf(np.arange(min(silent, left) + 1), silent, 0.5)
        for other in others:
            grown = np.zeros_like(ways)
            for taken, weight in enumerate(binom.pmf(np.arange(min(other, votes, left) + 1), other, 0.5)):
                tied = int(taken == votes)
                grown[tied:, taken:] += weight * ways[: len(ways) - tied, : left + 1 - taken]
            ways = grown
        shares = 1.0 / np.arange(1, len(ways) + 1)
        won[votes:] += binom.pmf(votes, count, 0.5) * (shares @ ways)
    return won

# Copyright 2026 The verl-htpo authors
# SPDX-License-Identifier: Apache-2.0
"""How sure a mean over prompts, or over seeds and prompts, is; at one budget and over a whole curve.

Prompts are what was drawn from a population, and samples of one prompt are not independent, so the standard error is
clustered by prompt (arXiv 2411.00640, section 2.2): that of the prompts' own means. Seeds of training are a second,
crossed factor (analysis of variance with random effects; Searle, Casella, McCulloch, Variance Components, chapter 4).
Both means hold what is neither the prompt's nor the seed's: as far as the seeds' hold it, it is counted with the few
seeds and taken off the many prompts, as a variance of few seeds less another would often be cut to 0. An interval is
Student's t with the degrees of freedom of the sum of both variances (Satterthwaite, 1946), so that few seeds give a
wide interval. With one seed the interval is that of these very weights: it says nothing of training again.

The interval of a rate is taken on the logit scale, as that of a proportion in a survey (Korn and Graubard, Analysis of
Health Surveys, 1999, section 3.5): pass@k lies near 1 where k is large, and is skewed there.

A band holds the whole curve with 95 %: it is made of intervals of a higher level, that which the largest standardised
deviation over all budgets keeps (sup-t band, Montiel Olea and Plagborg-Moller, 2019) in a hierarchical bootstrap that
draws seeds and prompts.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit, logit, stdtrit
from scipy.stats import bootstrap, norm

from recipe.htpo.evaluation.pass_at_k import Floats

LEVEL = 0.05
RESAMPLES = 2000
BATCH = 500
SEED = 0
POWER = 0.8
SMALLEST_P = 1e-12
BISECTIONS = 40


@dataclass(frozen=True)
class Factor:
    """Values of `S` seeds on the same `P` prompts at `K` budgets, as they enter a mean."""

    values: Floats
    """`[S, P, K]`."""
    sign: int = 1
    """-1 where the mean is subtracted."""
    paired: bool = False
    """The values are differences, paired by seed and prompt."""


@dataclass(frozen=True)
class Estimate:
    """A mean with its uncertainty at each of `K` budgets. Arrays are `[K]` float64, in fractions."""

    ks: tuple[int, ...]
    value: Floats
    standard_error: Floats
    """0 where all prompts (and seeds) have the same value; the intervals are then exact ones, see `_constant`."""
    low: Floats
    """Ends of the 95 % interval at each budget alone."""
    high: Floats
    band_low: Floats
    """Ends of the band that holds the values at all budgets at once with 95 %."""
    band_high: Floats
    p_value: Floats
    """Two-sided, of the value being 0 (of use for differences), at least `SMALLEST_P`."""
    detectable: Floats
    """Smallest true value that this comparison alone finds with 80 % (arXiv 2411.00640, section 5, with the interval's
    quantiles)."""

    def at(self, k: int) -> int:
        """Index of a budget. Raises ValueError where it was not computed."""
        if k not in self.ks:
            raise ValueError(f"k={k} was not computed; choose one of {', '.join(map(str, self.ks))}")
        return self.ks.index(k)


def estimate(factors: Sequence[Factor], ks: Sequence[int]) -> Estimate:
    """The signed sum of the factors' means over seeds and prompts; all values lie within 0 and 1.

    One factor is a mean; two of opposite signs are a difference. Of a difference that is paired by seed the factor has
    the differences as its values, within -1 and 1, and is told by `Factor.paired`; two factors are two groups of runs
    whose seeds have nothing in common but whose prompts are the same.

    Args:
        factors: with the same `P` and `K`, `P` at least 2.
        ks: the `K` budgets.

    Raises:
        ValueError: fewer than two prompts, or factors that do not fit each other.
    """
    prompts = factors[0].values.shape[1]
    if prompts < 2:
        raise ValueError("an interval over prompts needs at least two of them")
    if any(factor.values.shape[1:] != (prompts, len(ks)) for factor in factors):
        raise ValueError("all runs need the same prompts and budgets")
    by_prompt = sum(factor.sign * factor.values.mean(0) for factor in factors)
    value = np.asarray(by_prompt).mean(0)
    parts = _variances(factors, np.asarray(by_prompt))
    error = np.sqrt(sum(part for part, _ in parts))
    constant = error < 1e-12
    rate = len(factors) == 1 and not factors[0].paired
    lowest = 0.0 if rate else -1.0
    reach = np.maximum(1.0 - value, value - lowest)
    half = np.where(constant, _constant(prompts, reach), _half_width(parts, LEVEL))
    band = np.where(constant, half, _half_width(parts, _band_level(factors, value, constant)))
    return Estimate(
        ks=tuple(ks),
        value=value,
        standard_error=np.where(constant, 0.0, error),
        low=_end(value, -half, lowest, rate & ~constant),
        high=_end(value, half, lowest, rate & ~constant),
        band_low=_end(value, -band, lowest, rate & ~constant),
        band_high=_end(value, band, lowest, rate & ~constant),
        p_value=_p_values(parts, value, constant, prompts, reach),
        detectable=np.where(constant, half, half + _half_width(parts, 2 * (1 - POWER))),
    )


def _end(value: Floats, half: Floats, lowest: float, on_logit_scale: Any) -> Floats:
    """One end, `[K]`, of an interval whose half-width is `half` (negative: the lower end)."""
    inside = np.clip(value, 1e-9, 1 - 1e-9)
    bent = expit(logit(inside) + half / (inside * (1 - inside)))
    return np.where(on_logit_scale, bent, np.clip(value + half, lowest, 1.0))


Part = tuple[Floats, int]
"""A variance, `[K]`, with its degrees of freedom."""


def _variances(factors: Sequence[Factor], by_prompt: Floats) -> list[Part]:
    """Variances that add up to that of the sum over factors; `by_prompt` is `[P, K]`."""
    prompts = len(by_prompt)
    # Holds the variance of prompts, that of the samples and that of the interaction with seeds.
    of_prompts = by_prompt.var(0, ddof=1) / prompts
    parts = []
    for factor in factors:
        seeds = len(factor.values)
        if seeds == 1:
            continue
        by_seed = factor.values.mean(1, keepdims=True)
        rest = factor.values - by_seed - factor.values.mean(0) + by_seed.mean(0)
        of_seeds = by_seed[:, 0].var(0, ddof=1) / seeds
        of_rest = (rest**2).sum((0, 1)) / ((seeds - 1) * (prompts - 1)) / (seeds * prompts)
        parts.append((of_seeds, seeds - 1))
        of_prompts = of_prompts - np.minimum(of_rest, of_seeds)
    return [(np.maximum(of_prompts, 0.0), prompts - 1), *parts]


def _half_width(parts: Sequence[Part], level: float | Floats) -> Floats:
    """Half-width, `[K]`, of the interval that misses with the probability `level` (one, or `[K]`)."""
    if min(freedom for _, freedom in parts) == 1:
        # A variance of two seeds is small by chance so often that Satterthwaite's interval is too short; each variance
        # with its own quantile gives one that is rather too wide (Cochran and Cox).
        return np.sqrt(sum(stdtrit(freedom, level / 2) ** 2 * variance for variance, freedom in parts))
    total = sum(variance for variance, _ in parts)
    by_freedom = sum(variance**2 / freedom for variance, freedom in parts)
    freedom = total**2 / np.where(total > 0, by_freedom, 1.0)
    return -stdtrit(np.maximum(freedom, 1.0), level / 2) * np.sqrt(total)


def _p_values(parts: Sequence[Part], value: Floats, constant: Any, prompts: int, reach: Floats) -> Floats:
    """`[K]` levels at which the interval just ends at 0, by bisection of their logarithms."""
    size = np.abs(value)
    low, high = np.full(len(value), math.log(SMALLEST_P)), np.zeros(len(value))
    for _ in range(BISECTIONS):
        middle = (low + high) / 2
        too_wide = _half_width(parts, np.exp(middle)) > size
        low, high = np.where(too_wide, middle, low), np.where(too_wide, high, middle)
    return np.where(constant, np.minimum(1.0, 2 * (1 - size / reach) ** prompts), np.exp(high))


def _constant(prompts: int, reach: Floats) -> Floats:
    """Half-width of the interval where all `prompts` gave one value, and no value is more than `reach` away.

    A mean that is `d` away needs prompts with another value, at least a share of `d / reach`; that none of the drawn
    prompts was such a one has at most the probability `(1 - d / reach) ** prompts`.
    """
    return reach * (1 - (LEVEL / 2) ** (1 / prompts))


def _band_level(factors: Sequence[Factor], value: Floats, constant: Any) -> float:
    """How often the intervals that make up a band miss at one budget, at most `LEVEL`.

    That of a normal deviation beyond the quantile of the largest standardised one over the budgets, in resamples of
    seeds and prompts.
    """
    if len(value) == 1:
        return LEVEL
    many = [factor for factor in factors if len(factor.values) > 1]
    single = sum(factor.sign * factor.values[0] for factor in factors if len(factor.values) == 1)

    def mean_of(*drawn: Any, axis: int = -1) -> Floats:
        """`[..., S]` indices of seeds for each factor of several seeds and `[..., P]` of prompts; `[K, ...]`."""
        shares = [_shares(indices) for indices in drawn]
        mean = shares[-1] @ single if len(many) < len(factors) else 0.0
        for factor, seeds in zip(many, shares, strict=False):
            by_seed = np.stack([shares[-1] @ values for values in factor.values])
            mean = mean + factor.sign * np.einsum("...s,s...k->...k", seeds, by_seed)
        return np.moveaxis(np.asarray(mean), -1, 0)

    units = [np.arange(len(factor.values)) for factor in many] + [np.arange(factors[0].values.shape[1])]
    drawn = bootstrap(
        units, mean_of, n_resamples=RESAMPLES, batch=BATCH, axis=-1, vectorized=True, method="percentile", rng=SEED
    ).bootstrap_distribution
    spread = drawn.std(-1)
    varies = ~constant & (spread > 0)
    if not varies.any():
        return LEVEL
    largest = (np.abs(drawn - value[:, None])[varies] / spread[varies, None]).max(0)
    return min(LEVEL, float(2 * norm.sf(np.quantile(largest, 1 - LEVEL))))


def _shares(indices: NDArray[np.int64]) -> Floats:
    """`[..., N]` shares of a resample that each of `N` units has, from `[..., N]` indices of what was drawn."""
    units = indices.shape[-1]
    flat = indices.reshape(-1, units)
    offsets = np.arange(len(flat))[:, None] * units
    return np.bincount((flat + offsets).ravel(), minlength=flat.size).reshape(indices.shape) / units

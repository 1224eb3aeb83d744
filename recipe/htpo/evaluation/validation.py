# Copyright 2026 The verl-htpo authors
# SPDX-License-Identifier: Apache-2.0
"""pass@k of a validation during training, from the lists that verl's trainer has collected."""

from collections.abc import Mapping, Sequence
from typing import Any

from recipe.htpo.evaluation.outcomes import Outcomes
from recipe.htpo.evaluation.pass_at_k import powers_of_two


def validation_metrics(
    data_sources: Sequence[Any],
    uids: Sequence[Any],
    prompts: Sequence[str],
    acc: Sequence[Any],
    expected: Mapping[tuple[str, str], int] | None = None,
) -> dict[str, float]:
    """`val/<source>/pass@k` for k = 1, 2, 4, ... up to the samples of every prompt; pass@1 is avg@n.

    Samples are grouped by the text of the prompt, so that a set which repeats each problem in many rows (AIME in 960
    rows, one sample each) has the numbers of the set that asks for many samples of each (30 rows, n=32).

    Args:
        data_sources: source of each of `N` samples.
        uids: row of the validation set of each sample.
        prompts: decoded prompt of each sample.
        acc: 1.0 or 0.0 of each sample; None where its source has none.
        expected: samples of each row by `(source, uid)`; those that failed and are missing are wrong answers, as in
            verl's own numbers (verl/trainer/ppo/metric_utils.py, process_validation_metrics).
    """
    samples: dict[str, list[tuple[str, float]]] = {}
    text_of: dict[tuple[str, str], str] = {}
    missing = dict(expected or {})
    for source, uid, prompt, value in zip(data_sources, uids, prompts, acc, strict=True):
        if value is None:
            continue
        row = (str(source), str(uid))
        text_of[row] = prompt
        samples.setdefault(row[0], []).append((prompt, float(value)))
        if row in missing:
            missing[row] -= 1
    for row, count in missing.items():
        if row[0] in samples:
            # The text of a row of which nothing came back is not known: it is a prompt of its own.
            samples[row[0]] += [(text_of.get(row, row[1]), 0.0)] * max(count, 0)
    metrics = {}
    for source, found in samples.items():
        outcomes = Outcomes.of_samples(found)
        ks = powers_of_two(outcomes.least_samples)
        for k, value in zip(ks, outcomes.pass_at(ks).mean(0).tolist(), strict=True):
            metrics[f"val/{source}/pass@{k}"] = value
    return metrics

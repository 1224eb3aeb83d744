# Copyright 2026 The verl-htpo authors
# SPDX-License-Identifier: Apache-2.0
"""NTHR and THR against golden numbers: those shipped with the tests, and those of `HTPO_GOLDEN_DIR` or
`shared/golden` beside the repository where they are."""

import json
import os
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch

from recipe.htpo.objective.weights import (
    Head,
    NthrParameters,
    PromptTokens,
    ThrParameters,
    WeightBatch,
    WeightConfig,
    influence_scores,
    nthr_metrics,
    thr_metrics,
    thr_scores,
)

SHIPPED = Path(__file__).parent / "data"
BESIDE = Path(os.environ.get("HTPO_GOLDEN_DIR", Path(__file__).resolve().parents[5] / "shared" / "golden"))
DIRS = {"shipped": SHIPPED} | ({"project": BESIDE} if (BESIDE / "nthr_thr.npz").is_file() else {})
KINDS = {
    "default": {"vocab": "full"},
    "vstar": {"vocab": "vstar"},
    "exclude_self": {"vocab": "full", "anchor_exclude_self": True},
}


@cache
def golden(where: str) -> tuple[dict[str, torch.Tensor], dict]:
    with np.load(DIRS[where] / "nthr_thr.npz") as arrays:
        tensors = {key: torch.from_numpy(arrays[key]) for key in arrays.files}
    return tensors, json.loads((DIRS[where] / "nthr_thr.json").read_text(encoding="utf-8"))


CASES = [(where, case) for where in DIRS for case in golden(where)[1]]


def dense(values: torch.Tensor, lens: torch.Tensor) -> torch.Tensor:
    """`[G, T]` from packed tokens; NaN where there is no token."""
    mask = torch.arange(int(lens.max())) < lens[:, None]
    return torch.full(mask.shape, torch.nan, dtype=values.dtype).masked_scatter(mask, values)


def prompt_batch(where: str, case: str, dtype: torch.dtype, *, length_normalised: bool, **options) -> WeightBatch:
    tensors = golden(where)[0]
    hidden, weight, token, lens, reward, adv = (
        tensors[f"{case}/in/{key}"] for key in ("H", "W", "y", "lens", "reward", "adv")
    )
    response = torch.arange(len(lens)).repeat_interleave(lens)
    tokens = PromptTokens(hidden.to(dtype), token, response, reward > 0)
    scores = influence_scores(
        tokens,
        Head(weight.to(dtype)),
        length_normalised=length_normalised,
        token_chunk=2,
        vocab_block=3,
        **options,
    )
    return WeightBatch(
        advantages=dense(adv[response].to(dtype), lens),
        response_mask=torch.arange(int(lens.max())) < lens[:, None],
        correct=reward > 0,
        prompt_index=torch.zeros(len(lens), dtype=torch.int64),
        score=dense(scores.score, lens),
        anchor=scores.anchor,
    )


def is_mixed(batch: WeightBatch) -> bool:
    return len(set(batch.correct[batch.counted].tolist())) == 2


def assert_close(actual: torch.Tensor, expected: torch.Tensor, relative: float) -> None:
    """Relative to the largest value: scores are sums of terms of either sign."""
    assert float((actual.double() - expected).abs().max()) <= relative * max(float(expected.abs().max()), 1e-30)


@pytest.mark.parametrize("dtype, relative", [(torch.float64, 1e-12), (torch.float32, 1e-5)], ids=["fp64", "fp32"])
@pytest.mark.parametrize("where, case", CASES)
def test_scores(where: str, case: str, dtype: torch.dtype, relative: float) -> None:
    tensors = golden(where)[0]
    for letter, normalised in (("s", False), ("q", True)):
        for suffix, vocab in (("", "full"), ("_vstar", "vstar")):
            batch = prompt_batch(where, case, dtype, length_normalised=normalised, vocab=vocab)
            if is_mixed(batch):
                expected = tensors[f"{case}/{letter}{suffix}"]
                assert_close(batch.score[batch.valid], expected, relative)
            else:
                assert not batch.score[batch.valid].any() and batch.anchor.isnan().all()


@pytest.mark.parametrize("dtype, relative", [(torch.float64, 1e-12), (torch.float32, 1e-5)], ids=["fp64", "fp32"])
@pytest.mark.parametrize("where, case", CASES)
def test_nthr(where: str, case: str, dtype: torch.dtype, relative: float) -> None:
    tensors, scalars = golden(where)
    for kind, options in KINDS.items():
        batch = prompt_batch(where, case, dtype, length_normalised=False, **options)
        for beta in (0, 1):
            config = WeightConfig.from_mapping("nthr", {"beta": beta, **options})
            expected = tensors[f"{case}/nthr/{kind}/beta{beta}/adv"]
            assert_close(config(batch)[batch.valid], expected, relative)
            described = scalars[case]["nthr"][f"{kind}/beta{beta}"]
            metrics = nthr_metrics(batch, NthrParameters(beta=beta, **options))
            if described["tau"] is None:
                assert set(metrics.values()) == {0.0}
                continue
            wrong = int((batch.valid & ~batch.correct[:, None]).sum())
            assert metrics["nthr/selected_frac"] == pytest.approx(described["selected"] / wrong)
            assert metrics["nthr/eta"] == pytest.approx(described["eta"], abs=1e-12)
            scale = float(tensors[f"{case}/s"].abs().max())
            assert metrics["nthr/tau"] == pytest.approx(described["tau"], abs=relative * scale)
            assert metrics["nthr/tau_negative_rate"] == (described["tau"] < 0)


@pytest.mark.parametrize("dtype, relative", [(torch.float64, 1e-12), (torch.float32, 1e-5)], ids=["fp64", "fp32"])
@pytest.mark.parametrize("where, case", CASES)
def test_thr(where: str, case: str, dtype: torch.dtype, relative: float) -> None:
    tensors, scalars = golden(where)
    for kind, options in KINDS.items():
        batch = prompt_batch(where, case, dtype, length_normalised=True, **options)
        for p in ("0.1", "0", "-0.1"):
            config = WeightConfig.from_mapping("thr", {"p": float(p), **options})
            expected = tensors[f"{case}/thr/{kind}/p{p}/adv"]
            assert_close(config(batch)[batch.valid], expected, relative)
            described = scalars[case]["thr"][f"{kind}/p{p}"]
            metrics = thr_metrics(batch, ThrParameters(p=float(p), **options))
            if described["tau"] is None:
                assert set(metrics.values()) == {0.0}
                continue
            signed = tensors[f"{case}/thr/{kind}/thr"]
            assert_close(thr_scores(batch)[batch.valid], signed, relative)
            assert metrics["thr/kept_frac"] == pytest.approx(described["kept"] / signed.numel())
            assert metrics["thr/pos_frac"] == pytest.approx(float((signed > 0).double().mean()))
            scale = float(signed.abs().max())
            assert metrics["thr/tau"] == pytest.approx(described["tau"], abs=relative * scale)
            assert metrics["thr/tau_negative_rate"] == (described["tau"] < 0)

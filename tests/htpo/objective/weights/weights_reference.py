# Copyright 2026 The verl-htpo authors
# SPDX-License-Identifier: Apache-2.0
"""NTHR and THR by the double sum over pairs of tokens, in NumPy and float64, and the numbers shipped with the tests.

    python tests/htpo/objective/weights/weights_reference.py    # writes data/nthr_thr.npz and .json

It shares no code with the package. The files have the keys of the project's golden numbers.
"""

import json
from pathlib import Path

import numpy as np

DATA = Path(__file__).parent / "data"


def prediction_errors(hidden, head, token):
    logits = hidden @ head.T
    weights = np.exp(logits - logits.max(-1, keepdims=True))
    return np.eye(head.shape[0])[token] - weights / weights.sum(-1, keepdims=True)


def pair_scores(hidden, head, token, lens, reward, *, normalised, columns=None, exclude_self=False):
    """s_t of every token, pair by pair; `exclude_self` leaves out the pairs within a response."""
    error = prediction_errors(hidden, head, token)
    if columns is not None:
        error = error[:, columns]
    response = np.repeat(np.arange(len(lens)), lens)
    score = np.zeros(len(token))
    for t in range(len(token)):
        for s in range(len(token)):
            if reward[response[s]] and not (exclude_self and response[s] == response[t]):
                weight = 1 / lens[response[s]] if normalised else 1.0
                score[t] += weight * (error[s] @ error[t]) * (hidden[s] @ hidden[t])
    return score


def anchors(score, lens, reward):
    """Mean score of every correct, non-empty response, by its index."""
    ends = np.cumsum(lens)
    return {i: score[ends[i] - lens[i] : ends[i]].mean() for i in range(len(lens)) if reward[i] and lens[i]}


def is_mixed(lens, reward):
    return len({bool(r) for r, n in zip(reward, lens, strict=True) if n}) == 2


def nthr(score, anchor_score, lens, reward, adv, beta):
    """Advantages, selection, tau and eta."""
    response = np.repeat(np.arange(len(lens)), lens)
    if not is_mixed(lens, reward):
        return adv[response], np.zeros(len(response), bool), None, None
    tau = beta * min(anchors(anchor_score, lens, reward).values())
    rate = np.mean([r for r, n in zip(reward, lens, strict=True) if n])
    eta = 2 * abs(0.5 - rate)
    selected = np.array([not reward[i] and s > tau for i, s in zip(response, score, strict=True)])
    return np.where(selected, eta * adv[response], adv[response]), selected, tau, eta


def thr(score, anchor_score, lens, reward, adv, p):
    """Advantages, kept tokens, tau and THR."""
    response = np.repeat(np.arange(len(lens)), lens)
    signed = (2 * np.asarray(reward)[response] - 1) * score
    if not is_mixed(lens, reward):
        return adv[response], np.ones(len(response), bool), None, signed
    tau = min(anchors(anchor_score, lens, reward).values())
    kept = np.abs(signed) > tau
    return np.where(kept, (1 + np.sign(signed) * p) * adv[response], 0.0), kept, tau, signed


def prompt(seed, lens, reward, vocabulary, width, spread=1.0):
    rng = np.random.default_rng(seed)
    total = sum(lens)
    rate = np.mean(reward)
    return {
        "H": spread * rng.normal(size=(total, width)),
        "W": rng.normal(size=(vocabulary, width)),
        "y": rng.integers(vocabulary, size=total),
        "lens": np.array(lens),
        "reward": np.array(reward),
        "adv": (np.array(reward) - rate) / (np.std(reward) + 1e-6),
    }


PROMPTS = {
    "mixed": ((11, [3, 6, 2, 4, 5], [1, 0, 1, 0, 1], 19, 7), {}),
    "confident": ((12, [4, 3, 5], [0, 1, 0], 23, 8), {"spread": 4.0}),
    "half": ((13, [2, 4, 3, 2], [0, 0, 1, 1], 9, 3), {}),
    "empty_response": ((14, [3, 0, 4, 2], [1, 1, 0, 0], 13, 5), {}),
    "only_empty_correct": ((15, [0, 3, 2], [1, 0, 0], 11, 4), {}),
    "all_correct": ((16, [2, 3], [1, 1], 7, 3), {}),
    "all_wrong": ((17, [2, 3], [0, 0], 7, 3), {}),
}


def expected(given):
    """Arrays and scalars of one prompt, under the keys of the files."""
    arrays = {f"in/{key}": value for key, value in given.items()}
    hidden, head, token, lens, reward, adv = (given[key] for key in ("H", "W", "y", "lens", "reward", "adv"))
    columns = arrays["vstar"] = np.unique(token)
    for letter, normalised in (("s", False), ("q", True)):
        for suffix, options in (("", {}), ("_vstar", {"columns": columns}), ("_exclude_self", {"exclude_self": True})):
            arrays[letter + suffix] = pair_scores(hidden, head, token, lens, reward, normalised=normalised, **options)
    scalars = {"nthr": {}, "thr": {}}
    for kind, scored, anchored in (
        ("default", "", ""),
        ("vstar", "_vstar", "_vstar"),
        ("exclude_self", "", "_exclude_self"),
    ):
        for beta in (0, 1):
            new, selected, tau, eta = nthr(arrays["s" + scored], arrays["s" + anchored], lens, reward, adv, beta)
            arrays |= {f"nthr/{kind}/beta{beta}/adv": new, f"nthr/{kind}/beta{beta}/sel": selected}
            scalars["nthr"][f"{kind}/beta{beta}"] = {"tau": tau, "eta": eta, "selected": int(selected.sum())}
        for p in ("0.1", "0", "-0.1"):
            new, kept, tau, signed = thr(arrays["q" + scored], arrays["q" + anchored], lens, reward, adv, float(p))
            arrays |= {f"thr/{kind}/p{p}/adv": new, f"thr/{kind}/keep": kept, f"thr/{kind}/thr": signed}
            scalars["thr"][f"{kind}/p{p}"] = {"tau": tau, "kept": int(kept.sum())}
    return arrays, scalars


def main() -> None:
    all_arrays, all_scalars = {}, {}
    for name, (positional, options) in PROMPTS.items():
        arrays, all_scalars[name] = expected(prompt(*positional, **options))
        all_arrays |= {f"{name}/{key}": value for key, value in arrays.items()}
    DATA.mkdir(exist_ok=True)
    np.savez_compressed(DATA / "nthr_thr.npz", **all_arrays)
    (DATA / "nthr_thr.json").write_text(json.dumps(all_scalars, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()

# Copyright 2026 The verl-htpo authors
# SPDX-License-Identifier: Apache-2.0
"""Slow reference of the HTPO objective: one token at a time, in Python floats, with gradients written down by hand.

It shares no code with the package and follows the formulas of arXiv 2605.08283's figure (`paper`, `paper_literal`)
and of the authors' public loss (`released`, `released_signfix`).

    python tests/htpo/objective/objective_reference.py

rewrites the numbers in tests/htpo/objective/data that the golden tests use where no other set is given.
"""

import json
import math
import random
from pathlib import Path

import numpy as np

VARIANTS = ("released", "released_signfix", "paper", "paper_literal")
DATA_DIR = Path(__file__).parent / "data"


def ppo(adv: float, delta: float, params: dict) -> tuple[float, float]:
    """Loss and its derivative by log_prob, region by region."""
    ratio = math.exp(min(max(delta, -20.0), 20.0))
    slope = 1.0 if -20.0 <= delta <= 20.0 else 0.0
    low, high, c = 1 - params["eps_low"], 1 + params["eps_high"], params["c"]
    if adv >= 0:
        return (-adv * ratio, -adv * ratio * slope) if ratio <= high else (-adv * high, 0.0)
    if ratio < low:
        loss, grad = -adv * low, 0.0
    else:
        loss, grad = -adv * ratio, -adv * ratio * slope
    return capped(adv, loss, grad, c)


def capped(adv: float, loss: float, grad: float, c: float) -> tuple[float, float]:
    """Dual clip: min(-A c, loss) for A < 0; the derivative is halved at a tie, as autograd does."""
    if adv >= 0 or loss < -adv * c:
        return loss, grad
    return -adv * c, grad / 2 if loss == -adv * c else 0.0


def token(variant: str, group: int, adv: float, delta: float, params: dict) -> tuple[float, float, bool]:
    """Loss, derivative and whether the PPO term is replaced, for a token that is not detached."""
    ratio = math.exp(min(max(delta, -20.0), 20.0))
    slope = 1.0 if -20.0 <= delta <= 20.0 else 0.0
    low, high = 1 - params["eps_low"], 1 + params["eps_high"]
    up, down = ratio > high, ratio < low
    if group not in (2, 4, 8):
        return *ppo(adv, delta, params), False
    coefficient = high if group == 2 else low
    if variant == "paper_literal" or (variant == "paper" and (up if group == 2 else down)):
        return -coefficient * adv, -coefficient * adv, True
    if variant == "paper":
        return *ppo(adv, delta, params), False
    sign = 1.0 if variant == "released" else -1.0
    if group == 2 and down:
        coefficient = math.exp(-delta)
    if (group == 2 and (up or down)) or (group != 2 and down):
        value = sign * coefficient * adv
        return *capped(adv, value, value, params["c"]), True
    return *capped(adv, -adv * ratio, -adv * ratio * slope, params["c"]), False


def split(entropy: list[float], hard: bool, correct: bool, params: dict, rank: bool) -> tuple[list[int], list[bool]]:
    """Groups and detach marks of the valid tokens of one response."""
    n = len(entropy)
    if n == 0:
        return [], []
    k = max(int(params["high_entropy_ratio"] * n), 1)
    threshold = sorted(entropy, reverse=True)[k - 1]
    first = {(True, True): 1, (True, False): 3, (False, True): 5, (False, False): 7}[hard, correct]
    group = [first + (h >= threshold) for h in entropy]
    detach = [False] * n
    low = [i for i in range(n) if entropy[i] < threshold]
    high = [i for i in range(n) if entropy[i] >= threshold]
    if first == 1 and low:
        k = max(int(params["rho_low"] * len(low)), 1)
        order = sorted(low, key=lambda i: entropy[i])
        chosen = order[:k] if rank else [i for i in low if entropy[i] < entropy[order[k - 1]]]
    elif first == 5:
        k = max(int(params["rho_high"] * len(high)), 1)
        order = sorted(high, key=lambda i: -entropy[i])
        chosen = order[:k] if rank else [i for i in high if entropy[i] >= entropy[order[k - 1]]]
    else:
        chosen = []
    for i in chosen:
        detach[i] = True
    return group, detach


def batch(inputs: dict, params: dict, variant: str, rank: bool = False) -> dict[str, np.ndarray]:
    """Everything the golden files hold per token, `[B, T]`."""
    shape = inputs["mask"].shape
    out = {name: np.zeros(shape) for name in ("loss_mat", "grad_mat")}
    out |= {"group": np.zeros(shape, np.int64)} | {name: np.zeros(shape, bool) for name in ("detach", "replaced")}
    for i in range(shape[0]):
        columns = [j for j in range(shape[1]) if inputs["mask"][i, j] > 0]
        entropy = [float(inputs["ent"][i, j]) for j in columns]
        groups, detach = split(entropy, bool(inputs["hard"][i]), bool(inputs["correct"][i]), params, rank)
        for j, group, gone in zip(columns, groups, detach, strict=True):
            out["group"][i, j], out["detach"][i, j] = group, gone
            if not gone:
                delta = float(inputs["logp"][i, j]) - float(inputs["old"][i, j])
                loss, grad, replaced = token(variant, group, float(inputs["adv"][i, j]), delta, params)
                out["loss_mat"][i, j], out["grad_mat"][i, j], out["replaced"][i, j] = loss, grad, replaced
    out["low"], out["high"] = out["group"] % 2 == 1, (out["group"] > 0) & (out["group"] % 2 == 0)
    return out


def scalars(inputs: dict, result: dict[str, np.ndarray], params: dict) -> dict:
    """Counts, clip fractions and aggregated losses of one variant's result."""
    valid = inputs["mask"] > 0
    n, rows = int(valid.sum()), valid.any(1)
    delta = np.clip(inputs["logp"] - inputs["old"], -20.0, 20.0)[valid]
    ratio, adv = np.exp(delta), inputs["adv"][valid]
    low, high = 1 - params["eps_low"], 1 + params["eps_high"]
    clip = ((adv > 0) & (ratio > high)) | ((adv < 0) & (ratio < low))
    lower = (adv < 0) & (np.maximum(ratio, low) > params["c"]) & ~result["replaced"][valid]
    row_mean = result["loss_mat"].sum(1)[rows] / (valid.sum(1)[rows] + 1e-8)  # verl's mean over a row
    return {
        "pg_clipfrac": clip.sum() / n,
        "pg_clipfrac_lower": lower.sum() / n,
        "ppo_kl": -delta.sum() / n,
        "counts": {str(group): int((result["group"] == group).sum()) for group in range(1, 9)},
        "n_detach": int(result["detach"].sum()),
        "n_replaced": int(result["replaced"].sum()),
        "loss": {"token-mean": result["loss_mat"].sum() / n, "seq-mean-token-mean": row_mean.mean()},
    }


def random_inputs(seed: int, rows: int, width: int, max_delta: float, entropy_step: float = 0.0) -> dict:
    """A batch with all eight groups, padding, holes in the mask and advantages of either sign."""
    rng = random.Random(seed)
    inputs = {name: np.zeros((rows, width)) for name in ("old", "logp", "ent", "adv", "mask")}
    inputs |= {"hard": np.arange(rows) % 4 < 2, "correct": np.arange(rows) % 2 == 0}
    for i in range(rows):
        length = rng.randint(1, width)
        adv = rng.choice([1.0, 1.0, 1.0, -1.0]) * rng.uniform(0.2, 2.0) * (1 if inputs["correct"][i] else -1)
        for j in range(width):
            inputs["mask"][i, j] = float(j < length and rng.random() < 0.95)
            inputs["old"][i, j] = -rng.expovariate(1.0)
            inputs["logp"][i, j] = inputs["old"][i, j] + rng.choice([0.05, 0.3, max_delta]) * rng.uniform(-1, 1)
            entropy = rng.expovariate(1.0)
            inputs["ent"][i, j] = round(entropy / entropy_step) * entropy_step if entropy_step else entropy
            inputs["adv"][i, j] = adv
    return inputs


def _degenerate() -> dict:
    inputs = random_inputs(5, 12, 10, 2.0)
    inputs["mask"][0:4] = 1.0
    inputs["ent"][0:4] = 0.7
    inputs["mask"][4:8] = 0.0
    inputs["mask"][4:8, 3] = 1.0
    inputs["mask"][8:12] = 0.0
    return inputs


def write_data() -> None:
    """Write `htpo.npz` and `htpo.json` under `DATA_DIR`."""
    params = {"eps_low": 0.2, "eps_high": 0.28, "c": 10.0, "high_entropy_ratio": 0.2, "rho_low": 0.1, "rho_high": 0.3}
    cases = {
        "mixed": (random_inputs(1, 12, 30, 2.0), params),
        "extremes": (random_inputs(2, 8, 20, 25.0), params),
        "ties": (random_inputs(3, 8, 24, 1.0, entropy_step=0.5), params),
        "dual_clip": (random_inputs(4, 8, 20, 2.0), params | {"c": 1.1}),
        "one_token_constant_entropy_and_padding_rows": (_degenerate(), params),
    }
    arrays, description = {}, {}
    for case, (inputs, case_params) in cases.items():
        description[case] = {"params": case_params, "variants": {}}
        arrays |= {f"{case}/in/{name}": value for name, value in inputs.items()}
        for variant in VARIANTS:
            result = batch(inputs, case_params, variant)
            arrays |= {f"{case}/{variant}/{name}": value for name, value in result.items()}
            description[case]["variants"][variant] = scalars(inputs, result, case_params)
        ranked = batch(inputs, case_params, "paper", rank=True)
        arrays |= {f"{case}/paper_rank/{name}": ranked[name] for name in ("loss_mat", "grad_mat", "detach")}
    DATA_DIR.mkdir(exist_ok=True)
    np.savez_compressed(DATA_DIR / "htpo.npz", **arrays)
    (DATA_DIR / "htpo.json").write_text(json.dumps(description, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    write_data()

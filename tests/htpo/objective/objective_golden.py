# Copyright 2026 The verl-htpo authors
# SPDX-License-Identifier: Apache-2.0
"""Where the golden numbers are, and how they are read."""

import json
import os
from functools import cache
from pathlib import Path

import numpy as np
import torch

from recipe.htpo.objective import ObjectiveConfig, load_preset

PRESET_OF_VARIANT = {
    "released": "htpo_released",
    "released_signfix": "htpo_released_signfix",
    "paper": "htpo_paper",
    "paper_literal": "htpo_paper_literal",
    "paper_rank": "htpo_paper",
}


def golden_dir() -> Path:
    """`HTPO_GOLDEN_DIR`, else `shared/golden` beside the repository, else the numbers shipped with the tests."""
    if "HTPO_GOLDEN_DIR" in os.environ:
        return Path(os.environ["HTPO_GOLDEN_DIR"])
    beside = Path(__file__).resolve().parents[4] / "shared" / "golden"
    return beside if beside.is_dir() else Path(__file__).parent / "data"


@cache
def golden() -> tuple[dict[str, torch.Tensor], dict]:
    """Arrays by name, and the description of every case."""
    with np.load(golden_dir() / "htpo.npz") as arrays:
        tensors = {key: torch.from_numpy(arrays[key]) for key in arrays.files}
    return tensors, json.loads((golden_dir() / "htpo.json").read_text(encoding="utf-8"))


def golden_cases() -> list[tuple[str, str]]:
    """All (case, variant) pairs with per-token numbers."""
    return sorted({(case, variant) for case, variant, _ in (key.split("/") for key in golden()[0]) if variant != "in"})


def golden_scalars() -> list[tuple[str, str, dict]]:
    """All (case, variant, expected scalars); a set of golden numbers may have none."""
    described = ((case, description.get("variants", {})) for case, description in golden()[1].items())
    return [(c, v, scalars) for c, variants in described for v, scalars in variants.items() if "raises" not in scalars]


def golden_config(variant: str, params: dict) -> ObjectiveConfig:
    """The preset of a golden variant with the parameters of a golden case."""
    mode = "rank" if variant == "paper_rank" else "threshold"
    cells = {
        "hard_correct_low": {"detach_lowest": params["rho_low"], "detach_mode": mode},
        "easy_correct_high": {"detach_highest": params["rho_high"], "detach_mode": mode},
    }
    overrides = {"high_entropy_ratio": params["high_entropy_ratio"], "cells": cells}
    return load_preset(PRESET_OF_VARIANT[variant], overrides)
